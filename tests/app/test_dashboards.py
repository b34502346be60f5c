"""Boards on their way to Grafana: to a folder, as ConfigMaps, over its HTTP API; and the names that they ask for."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from aiops.app.boards import boards
from aiops.app.cli import main
from aiops.app.config import Config
from aiops.app.daemon import Daemon
from aiops.app.rule_pack import files
from aiops.app.source import DaemonSource
from aiops.signals.catalog import SIGNALS
from aiops.signals.telemetry import FamilyKind, exported_name
from tests.render.grafana_queries import selectors


class Grafana(HTTPServer):
    """Takes boards, as far as this test goes."""

    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.heard: list[tuple[str, str, dict[str, Any]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Grafana

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.append((self.path, self.headers.get("Authorization", ""), body))
        self.send_response(self.server.status)
        self.send_header("Location", "http://127.0.0.1:1/login")
        self.end_headers()
        self.wfile.write(b'{"message": "\x1b[31mno"}')

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    with Grafana() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_export_writes_what_stands_in_the_repository(tmp_path: Path) -> None:
    assert main(["dashboards", "export", str(tmp_path / "new")]) == 0
    committed = Path(__file__).resolve().parents[2] / "dashboards"
    names = {path.name for path in committed.glob("*.json")}
    assert {path.name for path in (tmp_path / "new").iterdir()} == names
    for name in names:
        assert (tmp_path / "new" / name).read_text() == (committed / name).read_text()


def test_config_maps_have_the_label_and_fit(tmp_path: Path) -> None:
    assert main(["dashboards", "export", str(tmp_path), "--configmaps", "--page-url", "http://aiops/"]) == 0
    for path in tmp_path.iterdir():
        found = yaml.safe_load(path.read_text())
        assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
        (text,) = found["data"].values()
        assert json.loads(text)["uid"] == path.stem == found["metadata"]["name"]
        assert json.loads(text)["links"][-1]["url"] == "http://aiops/"
        assert path.stat().st_size < 500_000


def test_an_unknown_board_is_named_with_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "export", str(tmp_path), "--only", "aiops-fleat"]) == 1
    error = capsys.readouterr().err
    assert "no board aiops-fleat" in error
    assert "aiops-fleet" in error


def test_push_sends_boards_with_the_token(grafana: Grafana, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    url = f"http://127.0.0.1:{grafana.server_port}/"
    arguments = ["--token-file", str(tmp_path / "token"), "--folder", "llm", "--only", "aiops-fleet"]
    assert main(["dashboards", "push", "--url", url, *arguments]) == 0
    ((path, token, body),) = grafana.heard
    assert (path, token) == ("/api/dashboards/db", "Bearer s3cret")
    assert body["overwrite"] is True
    assert body["folderUid"] == "llm"
    assert body["dashboard"]["uid"] == "aiops-fleet"
    assert body["dashboard"]["id"] is None


@pytest.mark.parametrize("status", [401, 302])
def test_push_says_why_it_was_refused(grafana: Grafana, capsys: pytest.CaptureFixture[str], status: int) -> None:
    grafana.status = status
    url = f"http://127.0.0.1:{grafana.server_port}"
    assert main(["dashboards", "push", "--url", url, "--only", "aiops-fleet"]) == 1
    error = capsys.readouterr().err
    assert f"answered {status}" in error
    assert "\x1b" not in error
    assert len(grafana.heard) == 1


def test_push_takes_web_addresses_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dashboards", "push", "--url", "file:///etc", "--only", "aiops-fleet"]) == 1
    assert "expected a URL" in capsys.readouterr().err


def test_boards_about_the_daemon_ask_for_what_it_shows_and_what_the_rules_record() -> None:
    families = DaemonSource(Daemon(Config())).families()
    own = {f"{one.name}{'_total' if one.kind is FamilyKind.COUNTER else ''}" for one in families}
    own |= {exported_name(signal) for signal in SIGNALS.values()}
    own |= {rule["record"] for file in files() for rule in file.rules if "record" in rule}
    own |= {
        "ALERTS",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
    }
    asked = {
        name for board in boards() if board.tag == "aiops" for target in board.targets
        for name, _ in selectors(target.expr)
    }  # fmt: skip
    assert asked <= own, asked - own


def test_every_part_of_the_daemon_that_can_be_seen_is_on_a_board() -> None:
    """What the daemon says about itself and no board shows is told to nobody."""
    families = DaemonSource(Daemon(Config())).families()
    own = {f"{one.name}{'_total' if one.kind is FamilyKind.COUNTER else ''}" for one in families}
    text = " ".join(target.expr for board in boards() for target in board.targets)
    unseen = {name for name in own if not re.search(rf"\b{name}\b", text)}
    assert not unseen
