"""``--watch``: asks again and again, also while nobody answers."""

from argparse import Namespace

import pytest

from aiops.app.commands.listing import Listing, listing
from aiops.app.output import Column, CommandFailedError, Output


def watched(monkeypatch: pytest.MonkeyPatch, output: Output) -> list[float]:
    """Watch a daemon that is gone at the second of three questions; the naps between."""
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            raise KeyboardInterrupt

    def ask(args: Namespace) -> Listing:
        if len(naps) == 1:
            raise CommandFailedError("no daemon answers")
        return Listing([{"n": len(naps)}], [Column("N")], [[str(len(naps))]])

    monkeypatch.setattr("time.sleep", nap)
    with pytest.raises(KeyboardInterrupt):
        listing(Namespace(watch=True, every=7.0, output=output, headers=True), ask)
    return naps


def test_a_watch_outlives_the_daemon(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert watched(monkeypatch, Output.TABLE) == [7.0, 7.0, 7.0]
    told = capsys.readouterr()
    assert told.out == "N\n0\nN\n2\n"  # a pipe gets no commands for terminals
    assert told.err == "aiops: no daemon answers\n"


def test_a_terminal_is_wiped_before_each_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    watched(monkeypatch, Output.TABLE)
    assert capsys.readouterr().out.count("\x1b[H\x1b[2J") == 2
    watched(monkeypatch, Output.JSON)
    assert "\x1b" not in capsys.readouterr().out


def test_once_fails_as_before() -> None:
    def ask(args: Namespace) -> Listing:
        raise CommandFailedError("gone")

    with pytest.raises(CommandFailedError):
        listing(Namespace(watch=False), ask)
