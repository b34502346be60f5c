"""``aiops top``: one screen for a pipe, and the live one driven by textual's own pilot."""

import json
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from textual.pilot import Pilot

from aiops.app.cli import main
from aiops.app.commands import top
from aiops.app.top_screen import TopScreen
from aiops.render.top import Look

DATA = Path(__file__).resolve().parents[1] / "render/data/top"
HOSTILE = "pod\x1b[31m\u202e[red]evil[/red][@click=app.quit]" + "A" * 10_000


class Daemon:
    """Answers as the recorded daemon did. ``gone`` breaks connections off."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = json.loads((DATA / "answers.json").read_text(encoding="utf-8"))
        self.gone = False
        self.tokens: set[str | None] = set()

    def answer(self, target: str) -> Any:
        url = urlsplit(target)
        match url.path.removeprefix("/api/v1/").split("/"):
            case ["signals", "range"]:
                return self.said["range"][parse_qs(url.query)["entity"][0].rstrip("{")]
            case ["incidents", _]:
                return self.said["incident"]
            case [name]:
                return self.said[name]


@pytest.fixture
def daemon() -> Iterator[tuple[str, Daemon]]:
    stub = Daemon()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            stub.tokens.add(self.headers["Authorization"])
            if stub.gone:
                return
            try:
                status, record = 200, {"status": "success", "data": stub.answer(self.path)}
            except KeyError:
                status, record = 404, {"status": "error", "error": "no such thing"}
            body = json.dumps(record).encode()
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", stub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", ["unicode", "ascii"])
def test_once_prints_one_screen_without_a_terminal(
    daemon: tuple[str, Daemon], name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setitem(sys.modules, "textual", None)  # as where the extra is not installed
    assert main(["top", "--once", "--url", daemon[0], *(["--ascii"] if name == "ascii" else [])]) == 0
    assert capsys.readouterr().out == (DATA / f"{name}.txt").read_text(encoding="utf-8")


def test_once_sends_the_token_and_says_when_nobody_answers(
    daemon: tuple[str, Daemon], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("s3cret")
    monkeypatch.setenv("AIOPS_TOKEN_FILE", str(tmp_path / "token"))
    assert main(["top", "--once", "--url", daemon[0]]) == 0
    assert daemon[1].tokens == {"Bearer s3cret"}
    daemon[1].gone = True
    assert main(["top", "--once", "--url", daemon[0]]) == 1
    assert "no daemon answers" in capsys.readouterr().err


def test_an_incident_that_is_forgotten_between_two_questions_is_told_as_listed(
    daemon: tuple[str, Daemon], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    del daemon[1].said["incident"]
    assert main(["top", "--once", "--url", daemon[0]]) == 0
    out = capsys.readouterr().out
    assert "Requests run but no token comes" in out
    assert "Most likely cause" not in out
    assert "tokens_out = 0 tokens/s" in out  # what its alert says instead


def test_a_pipe_is_told_of_once(daemon: tuple[str, Daemon], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--url", daemon[0]]) == 1
    assert "--once" in capsys.readouterr().err


def test_without_the_extra_its_name_is_told(
    daemon: tuple[str, Daemon], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr(top, "find_spec", lambda _: None)
    assert main(["top", "--url", daemon[0]]) == 1
    assert "aiops[tui]" in capsys.readouterr().err


def test_colours_are_for_terminals_and_for_those_who_want_them() -> None:
    line = top.Line("x", "critical")
    assert top._painted(line, top.DARK) != top._painted(line, top.LIGHT)
    assert top._painted(line, {}) == "x"


def app_of(url: str, look: Look = Look(), *, light: bool = False, interval_seconds: float = 60.0) -> TopScreen:  # noqa: B008 - frozen
    args = Namespace(url=url, timeout=5.0)
    return TopScreen(top.Watch(args), look, light=light, interval_seconds=interval_seconds)


def shown(app: TopScreen) -> str:
    return str(app.query_one("#lines").render()) + str(app.query_one("#foot").render())


async def seen(pilot: Pilot[None], holds: Callable[[str], bool]) -> str:
    """What the screen shows once something holds; the test's time limit ends a wait in vain."""
    assert isinstance(pilot.app, TopScreen)
    while not holds(shown(pilot.app)):
        await pilot.pause(0.01)
    return shown(pilot.app)


def pictured(app: TopScreen) -> str:
    """Every cell of the screen, and after each line the colours of its words."""
    lines = []
    for strip in app.screen._compositor.render_strips():
        words = [segment for segment in strip if segment.text.strip() and segment.style is not None]
        colours = dict.fromkeys(
            f"{segment.style.color.name}{' bold' if segment.style.bold else ''}"
            for segment in words
            if segment.style is not None and segment.style.color is not None
        )
        lines.append(f"{strip.text.rstrip()}\n{''.join(f'    ~ {name}' for name in colours)}".rstrip())
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("name", "size", "look", "light"),
    [
        ("80x24", (80, 24), Look(), False),
        ("120x40", (120, 40), Look(), False),
        ("80x24-ascii", (80, 24), Look(ascii=True), False),
        ("80x24-light", (80, 24), Look(), True),
    ],
)
async def test_the_whole_screen_is_as_it_was_looked_at(
    daemon: tuple[str, Daemon], name: str, size: tuple[int, int], look: Look, *, light: bool
) -> None:
    app = app_of(daemon[0], look, light=light)
    async with app.run_test(size=size) as pilot:
        await seen(pilot, lambda text: "127.0.0.1:8002" in text)
        await pilot.pause()
        picture = pictured(app)
    assert picture == (DATA / f"live-{name}.txt").read_text(encoding="utf-8")


async def test_the_keys_filter_sort_help_and_quit(daemon: tuple[str, Daemon]) -> None:
    app = app_of(daemon[0])
    async with app.run_test(size=(82, 24)) as pilot:
        first = await seen(pilot, lambda text: "127.0.0.1:8002" in text)
        assert first.startswith((DATA / "unicode.txt").read_text(encoding="utf-8").rstrip())
        await pilot.press("/", *"8003")
        await seen(pilot, lambda text: "  127.0.0.1:8003" in text and "  127.0.0.1:8001" not in text)
        await pilot.press("enter", "s")  # keys are keys again
        await seen(pilot, lambda text: "filter: 8003" in text and "sort: score" in text)
        await pilot.press("escape")
        await seen(pilot, lambda text: "  127.0.0.1:8001" in text and "filter:" not in text)
        await pilot.press("?")
        await seen(pilot, lambda text: "edge of what is expected" in text)
        await pilot.press("?")
        await seen(pilot, lambda text: "127.0.0.1:8001" in text)
        await pilot.press("q")
    assert app.return_code == 0


async def test_who_is_gone_is_asked_again(daemon: tuple[str, Daemon]) -> None:
    url, stub = daemon
    async with app_of(url, light=True, interval_seconds=0.02).run_test(size=(100, 24)) as pilot:
        await seen(pilot, lambda text: "127.0.0.1:8002" in text)
        stub.gone = True
        told = await seen(pilot, lambda text: "no daemon answers" in text)
        assert "trying again" in told
        assert "127.0.0.1:8002" in told  # what was known last stays
        stub.gone = False
        await seen(pilot, lambda text: "no daemon answers" not in text)


async def test_no_color_is_no_colour_and_no_grey(daemon: tuple[str, Daemon], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with app_of(daemon[0]).run_test(size=(100, 24)) as pilot:
        await seen(pilot, lambda text: "127.0.0.1:8002" in text)
        await pilot.pause()
        styles = [segment.style for line in pilot.app.screen._compositor.render_strips() for segment in line]
        drawn = {colour for style in styles if style for colour in (style.color, style.bgcolor) if colour}
        assert {colour.name for colour in drawn} == {"default"}


async def test_labels_are_no_markup(daemon: tuple[str, Daemon]) -> None:
    pool = daemon[1].said["fleet"]["pools"][0]
    pool["labels"], pool["name"] = {"pool": HOSTILE, "model_name": HOSTILE}, HOSTILE
    daemon[1].said["incident"]["incident"]["title"] = HOSTILE
    async with app_of(daemon[0]).run_test(size=(140, 24)) as pilot:
        told = await seen(pilot, lambda text: "evil" in text)
        assert "\\u001b[31m\\u202e[red]evil[/red]" in told
        assert not {"\x1b", "\u202e"} & set(told)
        await pilot.press("/", "[", "r", "e", "d", "]")
        await seen(pilot, lambda text: "filter: [red]" in text and "[red]evil" in text)
        assert pilot.app.is_running
