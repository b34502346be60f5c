"""Generated files in the checkout are what the program would write, and say all there is to say."""

import json
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import pytest
import yaml

from aiops.app.cli import build_parser, main
from aiops.app.config import Config, json_schema
from aiops.app.config_load import Sources, load
from aiops.app.config_print import effective
from aiops.app.generated import FILES
from aiops.app.grammar import leaves, options

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", FILES)
def test_no_drift(name: str) -> None:
    assert (ROOT / name).read_text() == FILES[name](), f"{name} is stale; run 'aiops render'"


def test_render_writes_once_and_then_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").touch()
    assert main(["render", "--check", "--root", str(tmp_path)]) == 1
    assert not (tmp_path / "docs").exists()
    assert main(["render", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().err.count("wrote ") == len(FILES)
    assert main(["render", "--check", "--root", str(tmp_path)]) == 0
    (tmp_path / "docs/reference/cli.md").write_text("drift")
    assert main(["render", "--check", "--root", str(tmp_path)]) == 1
    assert "docs/reference/cli.md" in capsys.readouterr().err


def test_every_setting_is_documented() -> None:
    whole = json_schema()

    def undocumented(schema: dict[str, object], name: str) -> list[str]:
        properties = schema.get("properties", {})
        assert isinstance(properties, dict)
        definitions = whole["$defs"]
        return [
            f"{name}.{key}"
            for key, field in properties.items()
            if not field.get("description") and not definitions[field["$ref"].rpartition("/")[2]].get("description")
        ]

    assert [*undocumented(whole, "Config"), *(x for n, s in whole["$defs"].items() for x in undocumented(s, n))] == []


def test_every_flag_has_a_meaning() -> None:
    assert not [
        (words, action.dest)
        for words, parser in leaves(build_parser())
        for action in options(parser)
        if not action.help
    ]


def test_the_schema_accepts_the_defaults_and_refuses_a_typo() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert validator.is_valid({})
    assert validator.is_valid({"interval": "5s", "log": {"level": "debug"}})
    assert validator.is_valid(yaml.safe_load((ROOT / "deploy/kustomize/base/aiops.yaml").read_text()))
    assert not validator.is_valid({"intervall": "5s"})
    defaults = json.loads(json.dumps(effective(load(Config, Sources(None, {})))))
    assert [error.message for error in validator.iter_errors(defaults)] == []
