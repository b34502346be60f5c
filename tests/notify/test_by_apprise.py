"""The library behind e-mail and the rest: what arrives, what its silence means, and what it never gets to print."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from email import message_from_string
from email.header import decode_header, make_header
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from aiops.detect.base import Severity
from aiops.incidents.alert import Incident
from aiops.kit.retry import Permanent, Temporary
from aiops.notify.by_apprise import ByApprise
from aiops.notify.notice import IncidentNotice
from aiops.notify.settings import ReceiverKind, ReceiverSettings

PASSWORD = "pa55word-secret"
OPEN = IncidentNotice(
    Incident("abc123", "Queue grows", Severity.CRITICAL, 1.0, 1.0, 0.0, ()),
    (),
    "http://aiops:9797/incidents/abc123",
    "What: the queue grows.\nCause: slow GPU.",
)


def receiver(url: str, timeout: float = 20.0) -> ByApprise:
    section = {"name": "mail", "kind": ReceiverKind.APPRISE, "url": url, "timeout": timeout}
    return ByApprise(ReceiverSettings.model_validate(section))


@dataclass
class Mailbox:
    """As much of SMTP as a mail needs."""

    port: int = 0
    refuse: str = ""
    mails: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())

        say("220 mailbox")
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].upper()
            if verb == "DATA":
                say("354 go on")
                body = (await reader.readuntil(b"\r\n.\r\n")).decode()
                self.mails.append(body)
            if verb == "RCPT" and self.refuse:
                say(self.refuse)
            elif verb == "QUIT":
                say("221 bye")
                break
            else:
                say("250 ok")
        writer.close()


@pytest_asyncio.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    box = Mailbox()
    server = await asyncio.start_server(box.serve, "127.0.0.1", 0)
    box.port = server.sockets[0].getsockname()[1]
    async with server:
        yield box


@dataclass
class Service:
    url: str = ""
    status: int = 200
    hang: bool = False
    got: list[Any] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append(await request.json())
        if self.hang:
            await asyncio.sleep(1.5)
        return web.Response(status=self.status)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    there, app = Service(), web.Application()
    app.router.add_post("/hook", there.handle)
    async with TestServer(app) as server:
        there.url = f"json://user:{PASSWORD}@127.0.0.1:{server.port}/hook"
        yield there


async def test_a_mail_says_what_happened_and_where_to_read_on(mailbox: Mailbox) -> None:
    url = f"mailto://127.0.0.1:{mailbox.port}?from=aiops@example.org&to=ops@example.org&mode=insecure&format=text"
    await receiver(url).send([OPEN])
    mail = message_from_string(mailbox.mails[0].replace("\r\n", "\n"))
    assert str(make_header(decode_header(mail["Subject"]))) == "[CRITICAL] Queue grows"
    assert "ops@example.org" in mail["To"]
    part = next(part for part in mail.walk() if part.get_content_type() == "text/plain")
    text = part.get_payload(decode=True).decode()  # type: ignore[union-attr]
    assert "Cause: slow GPU." in text
    assert OPEN.url in text


async def test_a_mailbox_that_refuses_is_worth_another_try(mailbox: Mailbox) -> None:
    mailbox.refuse = "550 no such user"
    url = f"mailto://127.0.0.1:{mailbox.port}?from=aiops@example.org&to=ops@example.org&mode=insecure"
    with pytest.raises(Temporary, match="mail did not take the message"):
        await receiver(url).send([OPEN])


async def test_the_end_is_told_as_a_success(service: Service) -> None:
    over = replace(OPEN, incident=replace(OPEN.incident, ended_at=2.0))
    for item in (OPEN, over):
        await receiver(service.url).send([item])
    assert [(got["title"], got["type"]) for got in service.got] == [
        ("[CRITICAL] Queue grows", "failure"),
        ("[RESOLVED] Queue grows", "success"),
    ]


@pytest.mark.parametrize(
    ("status", "failure"), [(400, Permanent), (404, Permanent), (408, Temporary), (429, Temporary), (503, Temporary)]
)
async def test_the_status_tells_what_may_pass(service: Service, status: int, failure: type[Exception]) -> None:
    service.status = status
    with pytest.raises(failure, match=f"mail answered {status}"):
        await receiver(service.url).send([OPEN])


async def test_one_call_at_a_time_and_never_longer_than_the_deadline(service: Service) -> None:
    service.hang = True
    slow = receiver(service.url, timeout=0.5)
    with pytest.raises(Temporary, match=r"longer than 0\.5 s"):
        await slow.send([OPEN])
    with pytest.raises(Temporary, match="still busy"):
        await slow.send([OPEN])
    assert slow._thread is not None
    assert slow._thread.daemon, "it may not hold up the end of the process"
    await asyncio.to_thread(slow._thread.join)
    assert threading.active_count() < 20


async def test_nothing_secret_reaches_log_or_error(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service.status = 500
    with pytest.raises(Temporary) as raised:
        await receiver(service.url).send([OPEN])
    assert PASSWORD not in caplog.text + str(raised.value)
    with pytest.raises(Permanent, match="none that apprise knows") as unknown:
        await receiver(f"nowhere://user:{PASSWORD}@host").send([OPEN])
    assert PASSWORD not in caplog.text + str(unknown.value)


def test_a_missing_library_is_said_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiops.notify.settings.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'aiops\[notify\]'"):
        receiver("json://127.0.0.1/")


def test_the_daemon_does_not_pay_for_a_library_that_nobody_uses() -> None:
    code = "import sys, aiops.app.serve; sys.exit('apprise' in sys.modules or 'requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
