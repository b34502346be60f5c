"""What a mistyped command line is told."""

import pytest

from aiops.app.cli import main


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["get", "incident"], "aiops get: WHAT: there is no 'incident'; did you mean 'incidents'?"),
        (["get", "nonsense"], "aiops get: WHAT: there is no 'nonsense'; expected targets, alerts, incidents, slo"),
        (["reprot"], "aiops: COMMAND: there is no 'reprot'; did you mean 'report'?"),
        (["get", "slo", "-o", "xml"], "-o/--output: there is no 'xml'; expected table, wide, json, yaml"),
        (["get"], "aiops get: the following arguments are required: WHAT"),
    ],
)
def test_a_slip_is_told_what_was_meant(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: ")
    assert told in " ".join(captured.err.split())


def test_a_long_list_fits_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit):
        main(["xyzzy"])
    lines = capsys.readouterr().err.splitlines()
    assert "there is no 'xyzzy'; expected run, demo," in " ".join(lines)
    assert max(map(len, lines)) <= 60
