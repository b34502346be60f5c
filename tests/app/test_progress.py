"""The bar of long commands: at a terminal only, within its width, and gone afterwards."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from aiops.app.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bar_says_how_far_and_how_long_and_goes() -> None:
    stream, time = Terminal(), Time()
    with Progress("replaying", stream=stream, clock=time) as progress:
        progress.to(0, 4)
        assert stream.getvalue() == "", "what is done in a moment needs no bar"
        time.now = 60.0
        progress.to(1, 4)
        assert stream.getvalue().strip() == "replaying [########......................]  25% 3:00 left"
        time.now = 60.05
        progress.to(26, 100)
        assert "26%" not in stream.getvalue(), "drawn too often"
        time.now = 3 * 3600.0
        progress.to(2, 4)
        assert stream.getvalue().rstrip().endswith("]  50% 3:00:00 left")
    assert all(len(line) <= 79 for line in stream.getvalue().split("\r"))
    assert stream.getvalue().isascii()
    assert stream.getvalue().endswith("\r" + " " * 79 + "\r")


def test_items_are_counted_and_other_lines_are_not_torn() -> None:
    stream, time = Terminal(), Time()
    seen = []
    with Progress("x" * 100, stream=stream, clock=time) as progress:
        for item in progress.over("abcd", 4):
            time.now += 10.0
            seen.append(item)
        before = stream.getvalue()
        progress.wipe()
        progress.wipe()
        assert stream.getvalue() == before + "\r" + " " * 79 + "\r"
    assert seen == list("abcd")
    assert "75%" in stream.getvalue()


def test_no_terminal_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    for stream, term in ((io.StringIO(), "xterm"), (Terminal(), "dumb")):
        monkeypatch.setenv("TERM", term)
        with Progress("scoring", stream=stream, clock=time) as progress:
            time.now += 60.0
            progress.to(2, 4)
        assert stream.getvalue() == ""


@pytest.mark.parametrize("columns", [40, 80])
def test_the_width_of_a_real_terminal_is_kept(columns: int, tmp_path: Path) -> None:
    """A program on a real pseudo-terminal; its clock is made to run."""
    script = tmp_path / "long.py"
    script.write_text(
        "import itertools\n"
        "from aiops.app.progress import Progress\n"
        "with Progress('replaying defaults', clock=itertools.count(0, 1).__next__) as progress:\n"
        "    for _ in progress.over(range(5), 5):\n"
        "        pass\n"
    )
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    subprocess.run(["stty", "cols", str(columns)], stdin=theirs, check=True)
    subprocess.run([sys.executable, script], stderr=theirs, check=True, env={**os.environ, "TERM": "xterm"})
    said = os.read(ours, 65_536).decode()
    os.close(ours)
    os.close(theirs)
    lines = [line for line in said.split("\r") if line]
    assert {len(line) for line in lines} == {columns - 1}
    assert lines[-2].startswith("replaying defaults [####")
    assert lines[-1].strip() == ""
