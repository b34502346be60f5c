import asyncio
import base64
import gzip
import os
import ssl
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from pydantic import ValidationError

from aiops.kit.http import Answer, BodyTooLarge, HttpClient, HttpClientSettings, Reach, open_session, public_url
from aiops.kit.retry import Permanent, Temporary

Serve = Callable[[Callable[[web.Request], Any]], Any]


def client(session: ClientSession, **settings: object) -> HttpClient:
    return HttpClient(HttpClientSettings.model_validate(settings), session)


async def get(client: HttpClient, url: str, **options: Any) -> Answer:
    return await client.ask("GET", url, **{"timeout_seconds": 5.0, "limit_bytes": 1 << 20, **options})


async def echo(request: web.Request) -> web.Response:
    return web.json_response({"authorization": request.headers.get("Authorization"), "path": request.path})


async def sent_authorization(client: HttpClient, url: str) -> str | None:
    import json

    value = json.loads((await get(client, url)).body)["authorization"]
    assert value is None or isinstance(value, str)
    return value


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


async def test_credentials_reach_the_peer(serve: Serve, session: ClientSession) -> None:
    url = await serve(echo)
    assert await sent_authorization(client(session), url) is None
    pair = {"username": "ü", "password": "p:w"}
    assert await sent_authorization(client(session, basic_auth=pair), url) == basic("ü:p:w")
    assert await sent_authorization(client(session, authorization={"credentials": "t"}), url) == "Bearer t"
    with_user = url.replace("//", "//me:secret@")
    assert await sent_authorization(client(session), with_user) == basic("me:secret")
    assert await sent_authorization(client(session, authorization={"credentials": "t"}), with_user) == "Bearer t"


async def test_a_rotated_token_file_is_used_at_the_next_call(
    serve: Serve, session: ClientSession, tmp_path: Path
) -> None:
    url = await serve(echo)
    token = tmp_path / "token"
    token.write_text("one\n")
    asker = client(session, authorization={"credentials_file": str(token)})
    assert await sent_authorization(asker, url) == "Bearer one"
    token.write_text("two")
    assert await sent_authorization(asker, url) == "Bearer two"


@pytest.mark.parametrize("content", [None, "", "a\nb", "x" * 70_000])
async def test_an_unusable_token_file_is_temporary_and_names_the_file(
    session: ClientSession, tmp_path: Path, content: str | None
) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
    with pytest.raises(Temporary, match="token") as caught:
        await get(client(session, authorization={"credentials_file": str(token)}), "http://127.0.0.1:1/")
    assert "xxx" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"basic_auth": {"username": "u"}},
        {"basic_auth": {"username": "u", "password": "p", "password_file": "f"}},
        {"basic_auth": {"username": "u:v", "password": "p"}},
        {"authorization": {"type": "Basic", "credentials": "c"}},
        {"authorization": {"type": "Bearer x", "credentials": "c"}},
        {"authorization": {"credentials": "a\r\nHost: b"}},
        {"authorization": {"credentials": "c"}, "basic_auth": {"username": "u", "password": "p"}},
        {"tls": {"key_file": "k"}},
    ],
)
def test_contradictory_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        HttpClientSettings.model_validate(settings)


def test_secrets_do_not_print() -> None:
    settings = HttpClientSettings.model_validate({"authorization": {"credentials": "canary"}})
    assert "canary" not in f"{settings!r} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://me:secret@host:80/x?e=a@b#part", "http://host/x?e=a@b"),
        ("http://host:8000/x?e=a@b", "http://host:8000/x?e=a@b"),
        ("http://me:se/cret@host/x", "http://host/x"),
        ("http://me:secret@host:99999/", "http://host:99999/"),
        ("me:secret@host", "host"),
        ("me:sec\nret@host", "host"),
    ],
)
def test_public_url_has_no_credentials(url: str, shown: str) -> None:
    assert public_url(url) == shown


@pytest.mark.parametrize("url", ["http://me:secret@host:99999/", "ftp://me:secret@h/", "me:secret@h", "http://", ""])
async def test_what_is_no_http_url_is_permanent(session: ClientSession, url: str) -> None:
    with pytest.raises(Permanent) as caught:
        await get(client(session), url)
    assert "secret" not in str(caught.value)


async def test_refused_connection_is_temporary_and_names_url_without_password(
    session: ClientSession, free_port: Callable[[], int]
) -> None:
    port = free_port()
    with pytest.raises(Temporary, match=f"http://127.0.0.1:{port}/m cannot be asked") as caught:
        await get(client(session), f"http://me:secret@127.0.0.1:{port}/m")
    assert "secret" not in str(caught.value)


async def test_a_url_that_is_itself_secret_can_be_shown_by_another_name(
    session: ClientSession, free_port: Callable[[], int]
) -> None:
    with pytest.raises(Temporary) as caught:
        await get(client(session), f"http://127.0.0.1:{free_port()}/hook/canary", shown="chat webhook")
    assert str(caught.value).startswith("chat webhook")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "error", "delay"),
    [(500, Temporary, None), (503, Temporary, 7.0), (429, Temporary, 7.0), (404, Permanent, None)],
)
async def test_status(
    serve: Serve, session: ClientSession, status: int, error: type[Exception], delay: float | None
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text="x" * 9000, headers={"Retry-After": "7"} if delay else {})

    answered = await get(client(session), await serve(answer))
    assert answered.status == status
    assert len(answered.body) == 4096
    with pytest.raises(error, match=str(status)) as caught:
        answered.require_ok()
    assert getattr(caught.value, "delay_seconds", None) == delay


async def test_status_is_told_even_when_the_body_is_damaged(serve: Serve, session: ClientSession) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=502, body=b"not gzip", headers={"Content-Encoding": "gzip"})

    answered = await get(client(session), await serve(answer))
    assert (answered.status, answered.body) == (502, b"")


def test_ok_passes_through() -> None:
    answer = Answer("u", 204, {}, b"")
    assert answer.require_ok() is answer


async def test_post_body_and_headers_arrive(serve: Serve, session: ClientSession) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=await request.read() + request.headers["X-A"].encode())

    url = await serve(answer)
    answered = await client(session).ask(
        "POST", url, body=b"[1]", headers={"X-A": "2"}, timeout_seconds=5, limit_bytes=100
    )
    assert answered.body == b"[1]2"


async def test_redirects_are_off_by_default(serve: Serve, session: ClientSession) -> None:
    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere") if request.path == "/" else AssertionError("followed")

    answered = await get(client(session), await serve(answer) + "/")
    assert answered.status == 302
    with pytest.raises(Permanent, match="redirects are not followed"):
        answered.require_ok()


async def test_same_origin_redirect_is_followed_when_allowed(serve: Serve, session: ClientSession) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/":
            raise web.HTTPTemporaryRedirect("/metrics")
        return await echo(request)

    asker = client(session, follow_redirects=True, authorization={"credentials": "t"})
    answered = await get(asker, await serve(answer) + "/")
    assert answered.body == b'{"authorization": "Bearer t", "path": "/metrics"}'


@pytest.mark.parametrize("location", ["http://{other}/", "//{other}/", "https://{same}/", "file:///etc/passwd", ""])
async def test_another_origin_is_never_asked(serve: Serve, session: ClientSession, location: str) -> None:
    hits: list[str] = []

    async def trap(request: web.Request) -> web.Response:
        hits.append(request.headers.get("Authorization", ""))
        return web.Response()

    other = (await serve(trap)).removeprefix("http://")

    async def answer(request: web.Request) -> web.Response:
        return web.Response(
            status=302, headers={"Location": location.format(other=other, same=request.host)} if location else {}
        )

    asker = client(session, follow_redirects=True, authorization={"credentials": "canary"})
    with pytest.raises(Permanent, match="redirects") as caught:
        await get(asker, await serve(answer))
    assert hits == []
    assert "canary" not in str(caught.value)


async def test_redirect_loop_ends(serve: Serve, session: ClientSession) -> None:
    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.path)

    with pytest.raises(Permanent, match="more than 3 times"):
        await get(client(session, follow_redirects=True), await serve(answer))


async def test_a_post_is_never_sent_twice_by_a_redirect(serve: Serve, session: ClientSession) -> None:
    async def answer(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("/again")

    asker = client(session, follow_redirects=True)
    with pytest.raises(Permanent, match="only GET"):
        await asker.ask("POST", await serve(answer), timeout_seconds=5, limit_bytes=10)


async def test_deadline_covers_the_body(serve: Serve, session: ClientSession) -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"a")
            await asyncio.sleep(0.01)

    with pytest.raises(Temporary, match=r"no whole answer within 0\.2 s"):
        await get(client(session), await serve(drip), timeout_seconds=0.2)


@pytest.mark.parametrize("size", [0, 99, 100, 101, 100_000])
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_cap_counts_decoded_bytes_exactly(serve: Serve, session: ClientSession, size: int, encoding: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "gzip"
        body = b"x" * size
        return web.Response(
            body=gzip.compress(body) if encoding == "gzip" else body, headers={"Content-Encoding": encoding}
        )

    url = await serve(answer)
    if size <= 100:
        assert (await get(client(session), url, limit_bytes=100)).body == b"x" * size
    else:
        with pytest.raises(BodyTooLarge, match="more than 100 bytes"):
            await get(client(session), url, limit_bytes=100)


async def test_multi_member_gzip_is_read_whole(serve: Serve, session: ClientSession) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"a") + gzip.compress(b"b"), headers={"Content-Encoding": "gzip"})

    assert (await get(client(session), await serve(answer))).body == b"ab"


async def test_endless_gzip_that_unpacks_to_nothing_is_cut(serve: Serve, session: ClientSession) -> None:
    empty_blocks = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"\x00\x00\x00\xff\xff" * 100_000

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=empty_blocks, headers={"Content-Encoding": "gzip"})

    with pytest.raises(BodyTooLarge):
        await get(client(session), await serve(answer), limit_bytes=1000)


@pytest.mark.parametrize("encoding", ["deflate", "gzip, gzip"])
async def test_other_encodings_are_refused(serve: Serve, session: ClientSession, encoding: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=zlib.compress(b"abc"), headers={"Content-Encoding": encoding})

    with pytest.raises(Permanent, match="expected gzip or none"):
        await get(client(session), await serve(answer))


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(b"a" * 1000)[:-12]])
async def test_damaged_gzip_is_temporary(serve: Serve, session: ClientSession, body: bytes) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    with pytest.raises(Temporary, match="body"):
        await get(client(session), await serve(answer))


def one_member_bomb(mebibytes: int) -> bytes:
    """Gzip of zeros, built from one repeated block: a full flush makes blocks independent of what went before."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + first + block * (mebibytes - 1) + packer.flush() + bytes(8)


def many_member_bomb(mebibytes: int) -> bytes:
    return gzip.compress(bytes(1 << 20)) * mebibytes


ASK_AND_WEIGH = textwrap.dedent("""
    import asyncio, sys
    from aiops.kit.http import BodyTooLarge, HttpClient, HttpClientSettings, open_session

    def memory(field):
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field)) * 1024

    async def main():
        async with open_session() as session:
            client = HttpClient(HttpClientSettings(), session)
            small = await client.ask("GET", sys.argv[1] + "/small", timeout_seconds=30, limit_bytes=100)
            assert small.body == b"ok"
            before = memory("VmRSS")
            try:
                await client.ask("GET", sys.argv[1] + "/bomb", timeout_seconds=30, limit_bytes=16 << 20)
            except BodyTooLarge:
                print(memory("VmHWM") - before)

    asyncio.run(main())
""")


@pytest.mark.parametrize("make", [one_member_bomb, many_member_bomb])
async def test_a_600_mib_bomb_costs_less_than_32_mib(serve: Serve, make: Callable[[int], bytes]) -> None:
    bomb = make(600)
    assert len(bomb) < 1 << 20
    assert zlib.decompressobj(31).decompress(bomb, 1 << 20) == bytes(1 << 20)

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/small":
            return web.Response(text="ok")
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    url = await serve(answer)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ASK_AND_WEIGH, url, stdout=subprocess.PIPE, env={**os.environ, "PYTHONWARNINGS": "error"}
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert int(output) < 32 << 20


async def test_a_closed_kept_alive_connection_is_retried_once(session: ClientSession) -> None:
    """The server answers with keep-alive and then closes, as llama.cpp's does."""
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok")
        await writer.drain()
        if connections == 1:
            await reader.readuntil(b"\r\n\r\n")  # takes the second request and hangs up instead of answering
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for _ in range(2):
            assert (await get(client(session), url)).body == b"ok"
    assert connections == 2


async def test_discovery_session_does_not_reach_metadata_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttp import ThreadedResolver

    async def resolve(self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        return [{"hostname": host, "host": "169.254.169.254", "port": port, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    async with open_session(reach=Reach.NO_METADATA) as guarded:
        with pytest.raises(Temporary, match="metadata address"):
            await get(client(guarded), "http://innocent.example/", timeout_seconds=1)


def run_openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Self-signed certificate for the name ``engine`` only."""
    import shutil

    if shutil.which("openssl") is None:
        pytest.skip("the program openssl is not on this machine")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    run_openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                "-subj", "/CN=engine", "-addext", "subjectAltName=DNS:engine",
                "-keyout", str(key), "-out", str(cert))  # fmt: skip
    return cert, key


async def tls_server(certificate: tuple[Path, Path], *, ask_for_certificate: bool) -> TestServer:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    if ask_for_certificate:
        context.load_verify_locations(certificate[0])
        context.verify_mode = ssl.CERT_REQUIRED
    application = web.Application()
    application.router.add_get("/", echo)
    server = TestServer(application, scheme="https")
    await server.start_server(ssl=context, shutdown_timeout=0.1)
    return server


async def test_tls_is_verified_unless_told_otherwise(
    session: ClientSession, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    server = await tls_server(certificate, ask_for_certificate=False)
    url = str(server.make_url("/"))
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(certificate[0].read_bytes())
    try:
        for tls in ({}, {"ca_file": trusted}, {"server_name": "engine"}, {"ca_file": trusted, "server_name": "other"}):
            with pytest.raises(Temporary, match="cannot be asked"):
                await get(client(session, tls=tls), url)
        for tls in ({"ca_file": trusted, "server_name": "engine"}, {"insecure_skip_verify": True}):
            assert (await get(client(session, tls=tls), url)).status == 200
    finally:
        await server.close()


async def test_rotated_client_certificate_is_used(
    session: ClientSession, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    server = await tls_server(certificate, ask_for_certificate=True)
    url = str(server.make_url("/"))
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    tls = {"ca_file": certificate[0], "server_name": "engine", "cert_file": cert, "key_file": key}
    asker = client(session, tls=tls)
    try:
        with pytest.raises(Temporary):
            await get(client(session, tls={"ca_file": certificate[0], "server_name": "engine"}), url)
        with pytest.raises(Temporary, match="No such file"):
            await get(asker, url)
        cert.write_bytes(certificate[0].read_bytes())
        key.write_bytes(certificate[1].read_bytes())
        assert (await get(asker, url)).status == 200
    finally:
        await server.close()
