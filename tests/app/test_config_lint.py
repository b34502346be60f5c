"""Valid and yet unwise: each code fires on its case and stays silent beside it."""

from pathlib import Path

import pytest
from pydantic import Field

from aiops.app.config import Config
from aiops.app.config_lint import CODES, lint
from aiops.app.config_load import Override, Sources, load
from aiops.kit.settings import Secret, Section


class Peer(Section):
    """A peer."""

    url: str = ""
    """Address."""
    token: Secret | None = None
    """Secret."""
    ca_file: Path | None = None
    """Certificates."""
    insecure_skip_verify: bool = False
    """Trap."""
    old: int = Field(1, deprecated="use new instead")
    """Old."""


class Web(Section):
    """A server."""

    listen_address: str = "127.0.0.1:9797"
    """Address."""


class Whole(Section):
    """All."""

    peers: list[Peer] = Field(default_factory=list)
    """Peers."""
    web: Web = Web()
    """Server."""


def codes(tmp_path: Path, text: str, *, mode: int = 0o600, environ: dict[str, str] | None = None) -> list[str]:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    file.chmod(mode)
    sources = Sources(file, environ or {})
    found = lint(load(Whole, sources), sources)
    assert all(advice.code in CODES and advice.where and advice.key for advice in found)
    return [advice.code for advice in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("peers: [{url: 'https://h', token: '${T}'}]", []),
        ("peers: [{old: 2}]", ["C001"]),
        ("peers: [{token: plain-secret}]", ["C002"]),
        ("peers: [{url: 'http://u:${T}@h'}]", ["C004"]),
        ("peers: [{url: 'http://h/@x'}]", []),
        ("web: {listen_address: '0.0.0.0:1'}", ["C005"]),
        ("web: {listen_address: ':1'}", ["C005"]),
        ("web: {listen_address: '[::1]:1'}", []),
        ("peers: [{insecure_skip_verify: true}]", ["C006"]),
        ("peers: [{insecure_skip_verify: false}]", []),
        ("peers: [{ca_file: /nonexistent/ca.pem}]", ["C007"]),
        ("peers: [{old: 2, insecure_skip_verify: true}]", ["C006", "C001"]),
    ],
)
def test_each_code(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert codes(tmp_path, text, environ={"T": "value-of-t"}) == expected


def test_a_readable_file_with_secrets(tmp_path: Path) -> None:
    assert codes(tmp_path, "peers: [{token: plain-secret}]", mode=0o644) == ["C002", "C003"]
    assert codes(tmp_path, "peers: []", mode=0o644) == []


def test_variables_and_flags_may_hold_secrets_but_not_be_unwise(tmp_path: Path) -> None:
    assert codes(tmp_path, "", environ={"AIOPS_PEERS": "[{token: plain-secret}]"}) == []
    sources = Sources(None, {}, (Override(("web", "listen_address"), ":1", "--web.listen-address"),))
    advice = lint(load(Whole, sources), sources)
    assert len(advice) == 1
    assert str(advice[0]).startswith("--web.listen-address: web.listen_address: the server listens")
    assert str(advice[0]).endswith("[C005]")


def test_advice_names_only_settings_that_exist(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "notify: {webhooks: [{url: 'https://h/hook-7f3a'}]}\n"
        "probe: {endpoints: [{url: 'http://h/v1', model: m, client: {authorization: {credentials: token-7f3a}}}]}\n"
    )
    file.chmod(0o600)
    advice = lint(load(Config, Sources(file, {})), Sources(file, {}))
    texts = {item.key.split(".")[0]: item.message for item in advice if item.code == "C002"}
    assert texts == {"notify": "write ${NAME} or use url_file", "probe": "write ${NAME} or use credentials_file"}
    assert "7f3a" not in "".join(map(str, advice))


def test_every_file_that_the_configuration_names_must_exist(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("notify: {webhooks: [{name: pager, url_file: /nonexistent/url}]}\n")
    sources = Sources(file, {})
    assert [(item.code, item.key) for item in lint(load(Config, sources), sources)] == [
        ("C007", "notify.webhooks[0].url_file")
    ]
