"""``aiops metrics doctor``: pages from files and URLs, what is there, what is missing and what that disables."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from aiops.app.cli import main
from aiops.app.commands import doctor

PAGE = """\
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 3
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 2
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total {tokens}
"""


@pytest.fixture
def url() -> Iterator[str]:
    """A page whose token counter grows by 40 with each request."""
    served = 0

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal served
            served += 1
            self.send_response(200 if "text/plain" in self.headers["Accept"] else 406)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(PAGE.format(tokens=40 * served).encode())

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page").write_text(PAGE.format(tokens=1) + "what is this\n")
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["metrics", "doctor", str(tmp_path / "page")]) == 0
    out, err = capsys.readouterr()
    assert max(map(len, out.splitlines())) <= 80
    lines = [line.split() for line in out.splitlines()]
    assert ["ROLE", "STATUS", "VALUE", "UNIT", "METRIC"] in lines
    assert ["running", "resolved", "3", "requests", "llamacpp:requests_processing"] in lines
    assert any(line[:2] == ["arrivals", "missing"] and "RequestsNotFinishing" in " ".join(line) for line in lines)
    assert "llama.cpp" in err
    assert "1 line(s) could not be read" in err


def test_two_files_give_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, tokens in (("one", 100), ("two", 300)):
        (tmp_path / name).write_text(PAGE.format(tokens=tokens))
    argv = ["metrics", "doctor", str(tmp_path / "one"), "--again", str(tmp_path / "two")]
    assert main([*argv, "--interval", "10", "-o", "json"]) == 0
    roles = json.loads(capsys.readouterr().out)["roles"]
    assert (roles["tokens_out"]["value"], roles["tokens_out"]["unit"]) == (20.0, "tokens/s")
    assert main(argv) == 2
    assert "--interval" in capsys.readouterr().err


def test_a_url_is_read_twice(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("aiops.app.commands.doctor.time.sleep", waits.append)
    assert main(["metrics", "doctor", url, "--interval", "4", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["roles"]["tokens_out"]["value"] == 10.0
    assert waits == [4.0]


def test_an_unknown_program_is_a_failure_that_says_what_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page").write_text("go_goroutines 5\n")
    assert main(["metrics", "doctor", str(tmp_path / "page")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "go_goroutines" in err
    assert "vllm" in err


@pytest.mark.parametrize("place", ["http://127.0.0.1:1/metrics", "ftp://host/metrics", "/none", "/"])
def test_what_cannot_be_read(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "doctor", place]) == 1
    assert f"cannot read {place}" in capsys.readouterr().err


def test_endless_input_is_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LARGEST_PAGE_BYTES", 1000)
    assert main(["metrics", "doctor", "/dev/zero"]) == 1
    assert "is larger than 1000 bytes" in capsys.readouterr().err


def test_a_recording_of_a_real_engine(captures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "doctor", str(captures / "vllm" / "steady.prom"), "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["engine"] == "vllm"
    assert data["roles"]["running"]["status"] == "resolved"
