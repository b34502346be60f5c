"""The command line: exit codes, streams, forms of output, and that it starts fast and trusts nothing."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from aiops import __version__
from aiops.app.cli import main
from aiops.app.commands.client import ago
from aiops.app.completion import script
from aiops.app.config import Config
from aiops.app.flags import RunOptions
from aiops.kit import log

Answers = dict[str, tuple[int, bytes]]
HOSTILE = "pod\x1b[31m\n\u202eevil"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIOPS_URL", "AIOPS_CONFIG_FILE", "COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def daemon() -> Iterator[tuple[str, Answers]]:
    """A stand-in for the daemon: base URL, and what it answers to each path."""
    answers: Answers = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, b"not here"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answers
    server.shutdown()
    thread.join()
    server.server_close()


def success(data: object) -> tuple[int, bytes]:
    return 200, json.dumps({"status": "success", "data": data}).encode()


TARGETS = {
    "activeTargets": [
        {
            "source": "http://gpu-1:8000/metrics",
            "kind": "scrape",
            "entity": {"kind": "replica", "labels": {"job": "vllm", "instance": HOSTILE}},
            "health": "down",
            "lastError": "http://gpu-1:8000/metrics connection refused " + "again " * 20,
            "lastScrape": "2026-01-01T00:00:00Z",
            "lastScrapeDuration": 0.0123,
            "facts": {"engine": "vllm", "url": "http://gpu-1:8000/metrics"},
        },
        {"source": HOSTILE, "health": "up"},
        "nonsense",
    ]
}
ALERTS = {
    "alerts": [
        {
            "labels": {"alertname": "GpuHot", "severity": "page", "gpu": "0"},
            "annotations": {"summary": "71 °C"},
            "state": "firing",
            "activeAt": 1,
            "value": 1.5,
        }
    ]
}
INCIDENTS = {
    "incidents": [
        {
            "id": "a1",
            "state": "open",
            "startsAt": "2026-01-01T00:00:00Z",
            "alerts": [1, 2],
            "title": "heat",
            "severity": "critical",
        }
    ]
}


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["version"], 0),
        (["check", "config"], 0),
        (["check", "config", "--config", "/none.yaml"], 1),
        (["check", "config", "--lint", "--web.listen-address", ":9797"], 3),
        (["check", "config", "--web.listen-address", ":9797"], 0),
        (["run", "--log.level", "loud"], 1),
        (["targets", "--url", "http://127.0.0.1:1"], 1),
        (["healthcheck", "--url", "file:///etc/passwd"], 1),
        (["metrics", "doctor", "/none"], 1),
        (["metrics", "doctor", "/dev/null"], 1),
        (["render", "--root", "/"], 1),
        (["completion", "bash"], 0),
    ],
)
def test_exit_codes(argv: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert err or out
    assert not (code == 1 and out), "messages belong on stderr"
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["dance"],
        ["check"],
        ["run", "--web.listen"],  # no abbreviations: a new flag must not change what an old line means
        ["targets", "-o", "xml"],
        ["targets", "--timeout", "-1"],
        ["metrics", "doctor"],
    ],
)
def test_misuse_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["run", "--help"]])
def test_help_is_0(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 0
    assert capsys.readouterr().out


def test_as_a_program_it_starts_without_anything_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom aiops.app.cli import main\ncode = main(sys.argv[1:])\n"
        "heavy = {'aiohttp', 'numpy', 'pydantic', 'yaml', 'urllib.request', 'json'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, "version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert done.stdout.startswith(f"aiops {__version__} (python ")


@pytest.mark.parametrize(("argv", "code"), [(["version"], 0), (["check", "config", "/none"], 1), (["dance"], 2)])
def test_as_a_program(argv: list[str], code: int) -> None:
    done = subprocess.run([sys.executable, "-m", "aiops.app.cli", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert bool(done.stdout) == (code == 0)


def test_a_reader_that_had_enough_is_no_failure() -> None:
    line = f"{sys.executable} -m aiops.app.cli check config --schema | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("{0\n", "")


def test_tables_fit_and_are_harmless(
    daemon: tuple[str, Answers], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, answers = daemon
    answers["/api/v1/targets"] = success(TARGETS)
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["targets", "--url", url]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert len(out.splitlines()) == 6  # the error goes on below, and not for ever
    assert out.startswith("SOURCE")
    assert "connection refused" in out
    assert "/metrics connection" not in out, "the reason comes first: the URL would push it off the screen"
    assert "…" in out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert main(["targets", "--url", url, "-o", "wide", "--no-headers"]) == 0
    wide = capsys.readouterr().out
    assert len(wide.splitlines()) == 2
    assert "…" not in wide
    assert "engine=vllm" in wide
    assert "replica job=vllm instance=pod" in wide
    assert "12ms" in wide


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_documents_are_whole_and_harmless(
    form: str, daemon: tuple[str, Answers], capsys: pytest.CaptureFixture[str]
) -> None:
    url, answers = daemon
    answers["/api/v1/targets"] = success(TARGETS)
    assert main(["targets", "--url", url, "-o", form]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert (json.loads(out) if form == "json" else yaml.safe_load(out)) == TARGETS["activeTargets"][:2]


def test_alerts_and_incidents(daemon: tuple[str, Answers], capsys: pytest.CaptureFixture[str]) -> None:
    url, answers = daemon
    answers["/api/v1/alerts"], answers["/api/v1/incidents"] = success(ALERTS), success(INCIDENTS)
    assert main(["alerts", "--url", url, "--no-headers"]) == 0
    assert re.match(r"firing +GpuHot +page +\d+d +gpu=0\n", capsys.readouterr().out)
    assert main(["incidents", "--url", url, "--no-headers"]) == 0
    assert re.match(r"a1 +open +critical +\d+d +2 +heat\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, b"<html>"), "not as an aiops daemon does"),
        ((200, b"[]"), "not as an aiops daemon does"),
        ((404, b"not here"), "answers 404"),
        ((503, b'{"status": "error", "error": "starting\\u001b[2J"}'), "the daemon refuses (503): starting\\u001b[2J"),
        ((200, b"\xff\xfe"), "not as an aiops daemon does"),
    ],
)
def test_strange_answers(
    answer: tuple[int, bytes], said: str, daemon: tuple[str, Answers], capsys: pytest.CaptureFixture[str]
) -> None:
    url, answers = daemon
    answers["/api/v1/alerts"] = answer
    assert main(["alerts", "--url", url]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("data", [None, [], {}, {"alerts": None}, {"alerts": [None, 5, {"labels": 7}]}])
def test_sparse_answers_are_empty_tables(
    data: object, daemon: tuple[str, Answers], capsys: pytest.CaptureFixture[str]
) -> None:
    url, answers = daemon
    answers["/api/v1/alerts"] = success(data)
    assert main(["alerts", "--url", url]) == 0
    assert capsys.readouterr().out.startswith("STATE")


def test_healthcheck(
    daemon: tuple[str, Answers], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, answers = daemon
    answers["/-/healthy"], answers["/-/ready"] = (200, b"ok"), (503, b"reading history\n")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert main(["healthcheck", "--url", url + "/"]) == 0
    assert main(["healthcheck", "--url", url, "--ready"]) == 1
    out, err = capsys.readouterr()
    assert out == "healthy\n"
    assert err == f"aiops: {url}/-/ready answers 503: reading history\n"


def test_a_daemon_that_is_not_there(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOPS_URL", "http://127.0.0.1:1")
    assert main(["incidents"]) == 1
    assert "no daemon answers at http://127.0.0.1:1 (" in capsys.readouterr().err


def test_run_hands_over_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[object] = []
    fake = ModuleType("aiops.app.serve")

    def run(config: Config, options: RunOptions) -> int:
        given.extend((config, options))
        return 7

    fake.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "aiops.app.serve", fake)
    monkeypatch.setattr(log, "configure", lambda *_: None)
    file = tmp_path / "c.yaml"
    file.write_text("interval: 7s\nweb: {enable_lifecycle: false}\n")
    monkeypatch.setenv("AIOPS_CONFIG_FILE", str(file))
    assert main(["run", "--web.listen-address", "127.0.0.1:1", "--web.enable-lifecycle", "--log.format=json"]) == 7
    config, options = given
    assert isinstance(options, RunOptions)
    assert config is options.loaded.config
    assert (options.loaded.config.interval, options.loaded.config.web.enable_lifecycle) == (7.0, True)
    assert options.loaded.config.log.format == "json"
    file.write_text("interval: 8s\n")
    assert options.again().loaded.config.interval == 8.0
    file.write_text("intervall: 8s\n")
    assert main(["run"]) == 1
    assert "did you mean 'interval'?" in capsys.readouterr().err


def test_check_prints_what_is_in_effect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("notify: {alertmanagers: [{url: 'http://u:canary-pw@am:9093'}]}\n")
    assert main(["check", "config", str(file), "--print", "--log.level", "debug"]) == 0
    out, err = capsys.readouterr()
    assert "canary-pw" not in out + err
    assert "level: debug  # --log.level" in out
    assert yaml.safe_load(out)["notify"]["alertmanagers"][0]["url"] == "http://<secret>@am:9093"
    assert "C004" in err


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        (100.0, "0s"),
        (41, "59s"),
        (1000.0, "0s"),  # a clock that runs ahead of ours
        ("1970-01-01T00:01:00Z", "40s"),
        ("1970-01-01T01:01:00+01:00", "40s"),
        (0, ""),
        (None, ""),
        ("soon", "soon"),
    ],
)
def test_ages(moment: object, shown: str) -> None:
    assert ago(moment, now=100.0) == shown


@pytest.mark.parametrize(("age", "shown"), [(119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172_800, "2d")])
def test_ages_take_the_largest_unit_that_still_says_something(age: float, shown: str) -> None:
    assert ago(1.0, now=1.0 + age) == shown


@pytest.mark.parametrize("content", [b"", b"two words", "tökön".encode(), b"\xff\xfe", b"a\nb"])
def test_a_file_that_holds_no_token_is_named_and_not_shown(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    monkeypatch.setenv("AIOPS_TOKEN_FILE", str(file))
    assert main(["alerts", "--url", "http://127.0.0.1:9"]) == 1
    assert capsys.readouterr().err == f"aiops: AIOPS_TOKEN_FILE: {file}: expected a token, one word of ASCII\n"


_ASK = """\
{before}
source {file}
COMP_WORDS=({words}); COMP_CWORD={last}; _aiops; echo "${{COMPREPLY[@]}}"
"""
_ZSH = "autoload -Uz compinit; compinit -u -D; setopt ksharrays"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command(shell: str, real_program: Callable[[str], str], tmp_path: Path) -> None:
    from aiops.app.cli import build_parser

    (tmp_path / "c").write_text(script(shell, build_parser()))
    for words, expected in (
        (["aiops", "inci"], "incident incidents"),
        (["aiops", "get", ""], "alerts incidents slo targets"),
        (["aiops", "-x", "check", "config", "--li"], "--lint"),
    ):
        ask = _ASK.format(
            before=_ZSH if shell == "zsh" else "", file=tmp_path / "c", words=" ".join(word or "''" for word in words),
            last=len(words) - 1,
        )  # fmt: skip
        if shell == "fish":
            ask = f"source {tmp_path}/c; complete -C '{' '.join(words)}'"
        options = ["-f"] if shell == "zsh" else []
        done = subprocess.run([real_program(shell), *options, "-c", ask], capture_output=True, text=True, check=True,
                              cwd=tmp_path)  # fmt: skip
        found = [name for name in done.stdout.split() if name.startswith(words[-1])]  # zsh itself leaves out the others
        assert sorted(found) == expected.split(), (words, done.stderr)
        assert done.stderr == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("detect: {disable: [TargetDwn]}", "there is no rule 'TargetDwn'; did you mean TargetDown?"),
        ("detect: {severity: {LLMQueueTimeAnomalous: critical}}", "cannot be critical"),
        ("scrape: {targets: ['not a url']}", "without spaces"),
    ],
)
def test_what_cannot_run_is_not_called_valid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"interval: 5s\n{text}\n")
    for command in (["check", "config", str(file)], ["run", "--config", str(file)]):
        assert main(command) == 1
        err = capsys.readouterr().err
        assert f"{file}:2: " in err
        assert expected in err
