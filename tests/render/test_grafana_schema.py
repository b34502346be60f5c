"""The boards are what Grafana's own types say a dashboard is; TypeScript compares, in one run for all of them."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = Path(__file__).parent / "grafana_schema"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "dashboards").glob("*.json"))}
_HEAD = 'import type { Board } from "./board";\nexport const board: Board = '
_OPTIONS = ("--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler", "--module", "esnext")

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


def panels(board: Any) -> dict[str, Any]:
    """The first panel of each kind."""
    found: dict[str, Any] = {}
    for one in board["panels"]:
        for panel in (one, *one.get("panels", ())):
            found.setdefault(panel["type"], panel)
    return found


def _set(thing: dict[str, Any], **fields: object) -> None:
    thing.update(fields)


WRONG: Mapping[str, Callable[[Any], None]] = {
    "board": lambda board: _set(board, colour="red"),
    "time": lambda board: _set(board["time"], from_="now-1h"),
    "link": lambda board: _set(board["links"][0], type="dashboard"),
    "variable": lambda board: _set(board["templating"]["list"][0], definition="up"),
    "annotation": lambda board: _set(board["annotations"]["list"][0], enabled=True),
    "place": lambda board: _set(panels(board)["stat"]["gridPos"], w="12"),
    "kind": lambda board: _set(panels(board)["stat"], type="graph"),
    "field": lambda board: _set(panels(board)["timeseries"]["fieldConfig"]["defaults"], units="s"),
    "custom": lambda board: _set(panels(board)["timeseries"]["fieldConfig"]["defaults"]["custom"], drawStyle="lines"),
    "option": lambda board: _set(panels(board)["stat"]["options"], colourMode="value"),
    "choice": lambda board: _set(panels(board)["stat"]["options"], colorMode="values"),
    "legend": lambda board: _set(panels(board)["timeseries"]["options"]["legend"], displayMode="lists"),
    "target": lambda board: _set(panels(board)["stat"]["targets"][0], query="up"),
    "missing": lambda board: panels(board)["stat"].pop("targets"),
}
"""One mistake each; what the types would let pass must not pass here."""


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory, real_program: Callable[[str], str]) -> Mapping[str, str]:
    """What TypeScript says of every board and of every mistake, by name."""
    npm, node = real_program("npm"), real_program("node")
    folder = shutil.copytree(SCHEMA, tmp_path_factory.mktemp("grafana") / "schema")
    install = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    boards = dict(BOARDS)
    # A panel of each kind is enough, and a mistake is in the first of its kind.
    boards["short"] = deepcopy(BOARDS["aiops-fleet"])
    boards["short"]["panels"] = [{**panel, "panels": []} if panel["type"] == "row" else panel
                                 for panel in panels(boards["short"]).values()]  # fmt: skip
    for name, spoil in WRONG.items():
        boards[f"wrong-{name}"] = board = deepcopy(boards["short"])
        spoil(board)
    for name, board in boards.items():
        (folder / f"{name}.ts").write_text(f"{_HEAD}{json.dumps(board)};\n")
    tsc = [node, "node_modules/typescript/bin/tsc", *_OPTIONS, *(f"{name}.ts" for name in boards)]
    done = subprocess.run(tsc, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    found = dict.fromkeys(boards, "")
    for name, said in re.findall(r"^([\w-]+)\.ts\(\d+,\d+\): (error .+)$", done.stdout, re.MULTILINE):
        found[name] += said[:500] + "\n"
    assert done.returncode == 2, f"the mistakes were not looked at: {done.stdout[:1000]} {done.stderr[:1000]}"
    return found


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_what_grafana_says_a_dashboard_is(complaints: Mapping[str, str], name: str) -> None:
    assert complaints[name] == ""


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_noticed(complaints: Mapping[str, str], name: str) -> None:
    assert complaints["short"] == "", "it is wrong without a mistake"
    assert complaints[f"wrong-{name}"]
