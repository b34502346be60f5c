"""YAML of our own: fast, and what the slow loader reads."""

from pathlib import Path

import pytest
import yaml

from aiops.kit import own_yaml

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.mark.parametrize("path", sorted((MODELS / "detectors").glob("*.yaml")), ids=lambda path: path.stem)
def test_it_reads_what_the_safe_loader_reads(path: Path) -> None:
    assert own_yaml.load(path.read_bytes()) == own_yaml.load(path.read_text()) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.getpid []"])
def test_what_is_not_plain_yaml_is_an_error(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        own_yaml.load(text)
