"""Web configuration files as people have them, over real TLS, rotated under a running server."""

import asyncio
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientConnectionError, ClientSession, ClientSSLError, TCPConnector

from aiops.app.cli import main
from aiops.app.config_load import ConfigError
from aiops.app.daemon import Daemon
from aiops.app.web_file import WebFileReader
from aiops.kit import log
from aiops.web.server import Server
from aiops.web.settings import WebSettings
from aiops.web.web_config import WebFile
from tests.web.test_server import House

HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"
FULL = f"""
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: VerifyClientCertIfGiven
  client_ca_file: ca.pem
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: true
  curve_preferences: [CurveP256, X25519]
http_server_config:
  http2: true
  headers:
    X-Frame-Options: SAMEORIGIN
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  alice: {HASH}
rate_limit:
  interval: 1ms
  burst: 1000
"""

SERVER = "cert_file: server.pem, key_file: server.key"


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path, openssl: str) -> None:
        self.folder = folder
        self._program = openssl
        # Python 3.13 asks authorities what their key is for.
        self._openssl("req", "-x509", *self._new("ca"), "-subj", "/CN=test authority", "-days", "30",
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip

    def issue(self, name: str, san: str) -> None:
        self._openssl("req", *self._new(name), "-subj", f"/CN={name}", "-out", f"{name}.csr")
        extensions = self.folder / "extensions"
        extensions.write_text(f"subjectAltName={san}\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-extfile", "extensions", "-out", f"{name}.pem", "-days", "30")  # fmt: skip

    def client(self, name: str = "") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        if name:
            context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        return context

    def serial(self, name: str) -> str:
        return self._openssl("x509", "-in", f"{name}.pem", "-noout", "-serial").partition("=")[2].strip()

    def _new(self, name: str) -> list[str]:
        out = [] if name != "ca" else ["-out", "ca.pem"]
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key", *out]

    def _openssl(self, *arguments: str) -> str:
        done = subprocess.run([self._program, *arguments], cwd=self.folder, check=True, capture_output=True)
        return done.stdout.decode()


@pytest.fixture
def authority(tmp_path: Path, real_program: Callable[[str], str]) -> Authority:
    made = Authority(tmp_path, real_program("openssl"))
    made.issue("server", "IP:127.0.0.1,DNS:localhost")
    return made


def file(folder: Path, text: str) -> WebFileReader:
    path = folder / "web.yml"
    path.write_text(text)
    return WebFileReader(path)


async def ask(port: int, context: ssl.SSLContext, path: str = "/-/healthy") -> tuple[int, dict[str, str]]:
    """Status and headers, on a connection of its own."""
    async with (
        ClientSession(connector=TCPConnector(force_close=True)) as session,
        session.get(f"https://127.0.0.1:{port}{path}", ssl=context) as answer,
    ):
        return answer.status, dict(answer.headers)


async def shown(port: int, context: ssl.SSLContext) -> str:
    """Serial number of the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    serial: str = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    await writer.wait_closed()
    return serial


async def test_a_whole_file_is_taken_and_obeyed(authority: Authority) -> None:
    server = Server(House(), WebSettings(listen_address="127.0.0.1:0"), file(authority.folder, FULL).read())
    await server.start()
    try:
        status, headers = await ask(server.port, authority.client())
        assert status == 200
        assert headers["X-Frame-Options"] == "SAMEORIGIN"
        assert headers["Strict-Transport-Security"] == "max-age=31536000"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert (await ask(server.port, authority.client(), "/metrics"))[0] == 401
        assert server.base_url == f"https://127.0.0.1:{server.port}"
        with pytest.raises(ClientSSLError):
            await ask(server.port, ssl.create_default_context())
    finally:
        await server.stop()


async def test_clients_must_show_a_certificate_with_an_allowed_name(authority: Authority) -> None:
    authority.issue("prometheus", "DNS:prometheus.example")
    authority.issue("other", "DNS:other.example")
    reader = file(authority.folder, "tls_server_config: {cert_file: server.pem, key_file: server.key, "
                  "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem, "
                  "client_allowed_sans: [prometheus.example]}\n")  # fmt: skip
    server = Server(House(), WebSettings(listen_address="127.0.0.1:0"), reader.read())
    await server.start()
    try:
        assert (await ask(server.port, authority.client("prometheus")))[0] == 200
        assert (await ask(server.port, authority.client("other")))[0] == 403
        with pytest.raises(ClientConnectionError):
            await ask(server.port, authority.client())
    finally:
        await server.stop()


async def test_a_rotated_certificate_is_served_and_no_connection_is_lost(authority: Authority) -> None:
    reader = file(authority.folder, "tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
    server = Server(House(), WebSettings(listen_address="127.0.0.1:0"), reader.read())
    await server.start()
    try:
        async with (
            ClientSession() as session,
            session.get(f"https://localhost:{server.port}/-/healthy", ssl=authority.client()) as held,
        ):
            assert held.status == 200
            before = authority.serial("server")
            assert not reader.changed()
            authority.issue("server", "IP:127.0.0.1,DNS:localhost")
            assert reader.changed()
            await server.configure(reader.read())
            serials = await asyncio.gather(*(shown(server.port, authority.client()) for _ in range(20)))
            assert set(serials) == {authority.serial("server")} != {before}
            async with session.get(f"https://localhost:{server.port}/-/ready", ssl=authority.client()) as again:
                assert again.status == 200
    finally:
        await server.stop()


async def test_a_bad_rotation_changes_nothing(authority: Authority) -> None:
    reader = file(authority.folder, "tls_server_config: {cert_file: server.pem, key_file: server.key}\n")
    server = Server(House(), WebSettings(listen_address="127.0.0.1:0"), reader.read())
    await server.start()
    try:
        (authority.folder / "server.key").write_text("not a key")
        assert reader.changed()
        with pytest.raises(ConfigError, match="cannot be used"):
            reader.read()
        assert not reader.changed()  # told once, and tried again when something changes
        assert (await ask(server.port, authority.client()))[0] == 200
    finally:
        await server.stop()


def test_certificate_and_key_may_stand_in_the_file_itself(authority: Authority) -> None:
    def block(name: str) -> str:
        text = (authority.folder / name).read_text()
        return "|\n" + "".join(f"    {line}\n" for line in text.splitlines())

    text = f"tls_server_config:\n  cert: {block('server.pem')}  key: {block('server.key')}"
    assert file(authority.folder, text).read().context() is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tls_server_config: {cert_file: a.pem}", "missing key or key_file"),
        ("tls_server_config: {key_file: a.pem}", "missing cert or cert_file"),
        ("tls_server_config: {cert_file: a, cert: b, key_file: c}", "at most one of cert and cert_file"),
        ("tls_server_config: {cert_file: none.pem, key_file: server.key}", "none.pem: No such file"),
        ("tls_server_config: {cert_file: server.pem, key_file: ca.key}", "cannot be used"),
        (f"tls_server_config: {{{SERVER}, client_auth_type: RequireAnyClientCert}}", "nobody verified"),
        (f"tls_server_config: {{{SERVER}, client_auth_type: VerifyClientCertIfGiven}}", "needs client_ca"),
        (f"tls_server_config: {{{SERVER}, client_ca_file: ca.pem}}", "NoClientCert"),
        (f"tls_server_config: {{{SERVER}, min_version: TLS9}}", "min_version"),
        (f"tls_server_config: {{{SERVER}, cipher_suites: [RC4]}}", "suite RC4"),
        ("tls_server_confg: {}", "tls_server_config"),
        ("basic_auth_users: {alice: secret}", "alice is no bcrypt hash"),
        ("http_server_config: {headers: {X-Other: y}}", "X-Other"),
        ("- 1", "mapping"),
    ],
)
def test_a_bad_file_is_refused_with_the_reason(authority: Authority, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        file(authority.folder, text).read()
    assert expected in str(caught.value)
    assert "web.yml" in str(caught.value)
    assert "secret" not in str(caught.value).replace("<secret>", "")


def test_no_file_is_plain_http_for_nobody_in_particular() -> None:
    reader = WebFileReader(None)
    assert reader.read().context() is None
    assert not reader.changed()


def test_a_start_reads_the_file_once_and_a_bad_one_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, read, served = tmp_path / "web.yml", WebFileReader.read, list[Path | None]()

    def counted(reader: WebFileReader) -> WebFile:
        served.append(reader.path)
        return read(reader)

    async def serve(_: Daemon) -> None:
        served.append(None)

    monkeypatch.setattr(WebFileReader, "read", counted)
    monkeypatch.setattr("aiops.app.serve._serve", serve)
    monkeypatch.setattr(log, "configure", lambda *_: None)
    flags = ["--storage.path", str(tmp_path / "state"), "--web.config.file", str(file)]
    file.write_text("http_server_config: {http2: true}\n")
    assert main(["run", *flags]) == main(["check", "config", *flags]) == 0
    assert served == [file, None, file]
    file.write_text("tls_server_config: {cert_file: gone.pem, key_file: gone.key}\n")
    assert main(["run", *flags]) == main(["check", "config", *flags]) == 1
    assert served == [file, None, file, file, file]
    told = capsys.readouterr().err
    assert told.count("gone.pem") == 2
    assert "not started, because the configuration is not valid" in told
