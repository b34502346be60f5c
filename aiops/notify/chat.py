"""Chats and pagers that take JSON over HTTP: Slack, Teams, PagerDuty, WeCom, DingTalk, Feishu.

Each has a form of its own and its own way to say no. Texts of strangers go only where the service shows them as they
are (plain text) or are escaped, so that a label can neither mention everybody nor dress up as a link. Our own client
instead of a library, because it tells 4xx from 5xx, keeps the deadline, and never puts the URL, which is a secret, into
an error.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from yarl import URL

from aiops.detect.base import Severity
from aiops.kit.clock import Clock
from aiops.kit.http import Answer, HttpClient
from aiops.kit.http_settings import secret_text
from aiops.kit.retry import Permanent, Temporary
from aiops.kit.text import clipped
from aiops.notify.notice import IncidentNotice, Message, message_of, rfc3339
from aiops.notify.settings import ReceiverKind, ReceiverSettings

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
_ANSWER_BYTES = 64 * 1024
_COLOURS = {Severity.CRITICAL: "attention", Severity.WARNING: "warning", Severity.INFO: "accent"}


@dataclass(frozen=True, slots=True)
class Posted:
    """What is sent: a JSON body, and what is added to the query of the URL."""

    body: object
    query: Mapping[str, str] = field(default_factory=dict)


class Chat:
    """One receiver of incidents in the words of its service."""

    batch_size = 1

    def __init__(self, settings: ReceiverSettings, client: HttpClient, clock: Clock) -> None:
        self.name = settings.name
        self.kind = str(settings.kind)
        self._settings = settings
        self._client = client
        self._clock = clock
        self._form = FORMS[settings.kind]

    def problem(self, item: IncidentNotice) -> str:  # noqa: ARG002 - the seam asks
        """Nothing that JSON could not carry."""
        return ""

    def warning(self) -> str:
        """Nothing is known of the receiver but its answers."""
        return ""

    async def send(self, items: Sequence[IncidentNotice]) -> None:
        """POST one message per incident."""
        settings = self._settings
        secret = secret_text(settings.secret, settings.secret_file)
        url = secret_text(settings.url, settings.url_file) or PAGERDUTY_URL
        for item in items:
            posted = self._form(item, secret, self._clock.now())
            answer = await self._client.ask(
                "POST",
                str(URL(url).update_query(posted.query)) if posted.query else url,
                timeout_seconds=settings.timeout,
                limit_bytes=_ANSWER_BYTES,
                headers={"Content-Type": "application/json"},
                body=json.dumps(posted.body).encode(),
                shown=self.name,
            )
            judge(answer.require_ok())


def judge(answer: Answer) -> None:
    """Raise when a service says no in an answer of 200, as WeCom, DingTalk and Feishu do.

    Raises
    ------
    Temporary
        It is busy, or we are too fast.
    Permanent
        It will never take this.
    """
    try:
        said = json.loads(answer.body)
    except ValueError:
        return  # Slack answers "ok", Teams nothing
    if not isinstance(said, dict):
        return
    code = next((said[name] for name in ("errcode", "code", "StatusCode") if name in said), 0)
    if code in (0, "0"):
        return
    message = f"{answer.url} answered with code {str(code)[:20]}"
    if code in _BUSY:
        raise Temporary(f"{message}: busy or too many messages")
    raise Permanent(message)


_BUSY = frozenset({-1, 45009, 45033, 130101, 11232})
"""WeCom and DingTalk: system busy; WeCom: too often, too many at once; DingTalk: too often; Feishu: too often."""


def _slack(item: IncidentNotice, secret: str, now: float) -> Posted:  # noqa: ARG001 - one signature for all
    message = message_of(item)
    link = f"\n<{message.url}|Details>" if message.url else ""
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": clipped(message.title, 150)}},
        {"type": "section", "text": {"type": "mrkdwn", "text": _slack_text(clipped(message.text, 2400)) + link}},
    ]
    return Posted({"text": _slack_text(clipped(message.title, 300)), "blocks": blocks})


def _slack_text(text: str) -> str:
    """Escaped, so that ``<!channel>`` and ``<url|text>`` are letters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _teams(item: IncidentNotice, secret: str, now: float) -> Posted:  # noqa: ARG001
    message = message_of(item)
    colour = "good" if not item.incident.open else _COLOURS[item.incident.severity]

    def plain(text: str, **more: object) -> dict[str, object]:
        # A TextRun is shown as it is, a TextBlock would be read as Markdown.
        return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **more}]}

    lines = [plain(line) for line in clipped(message.text, 8000).splitlines() if line]
    card: dict[str, object] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [plain(message.title, weight="bolder", size="medium", color=colour), *lines],
    }
    if message.url:
        card["actions"] = [{"type": "Action.OpenUrl", "title": "Details", "url": message.url}]
    attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return Posted({"type": "message", "attachments": [attachment]})


def _pagerduty(item: IncidentNotice, secret: str, now: float) -> Posted:  # noqa: ARG001
    message, incident = message_of(item), item.incident
    event: dict[str, object] = {
        "routing_key": secret,
        # Equal in every daemon of a pair, so both are one incident there too.
        "dedup_key": f"aiops-{incident.id}",
        "event_action": "trigger" if incident.open else "resolve",
        "client": "aiops",
        "payload": {
            "summary": clipped(incident.title, 1024),
            "source": next((str(key.series.entity) for key in incident.members), "aiops")[:255],
            "severity": str(incident.severity),
            "timestamp": rfc3339(incident.started_at),
            "custom_details": {"text": clipped(message.text, 8000)},
        },
    }
    if message.url:
        event["client_url"] = message.url
    return Posted(event)


def _wecom(item: IncidentNotice, secret: str, now: float) -> Posted:  # noqa: ARG001
    return Posted({"msgtype": "text", "text": {"content": _within(_whole(message_of(item)), 2000)}})


def _dingtalk(item: IncidentNotice, secret: str, now: float) -> Posted:
    body = {"msgtype": "text", "text": {"content": _within(_whole(message_of(item)), 18_000)}}
    if not secret:
        return Posted(body)
    stamp = str(round(now * 1000))
    sign = hmac.new(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256).digest()
    return Posted(body, {"timestamp": stamp, "sign": base64.b64encode(sign).decode()})


def _feishu(item: IncidentNotice, secret: str, now: float) -> Posted:
    message = message_of(item)
    content: list[list[dict[str, str]]] = [[{"tag": "text", "text": _within(message.text, 18_000)}]]
    if message.url:
        content.append([{"tag": "a", "text": message.url, "href": message.url}])
    body: dict[str, object] = {
        "msg_type": "post",
        "content": {"post": {"en_us": {"title": clipped(message.title, 200), "content": content}}},
    }
    if secret:
        stamp = str(round(now))
        # Feishu signs nothing with a key that is stamp and secret.
        sign = hmac.new(f"{stamp}\n{secret}".encode(), b"", hashlib.sha256).digest()
        body |= {"timestamp": stamp, "sign": base64.b64encode(sign).decode()}
    return Posted(body)


def _whole(message: Message) -> str:
    return "\n".join(part for part in (message.title, message.text, message.url) if part)


def _within(text: str, most_bytes: int) -> str:
    """Cut to a number of bytes of UTF-8, never within a character."""
    raw = text.encode("utf-8", "replace")
    return text if len(raw) <= most_bytes else raw[: most_bytes - 3].decode("utf-8", "ignore") + "…"


Form = Callable[[IncidentNotice, str, float], Posted]
FORMS: Mapping[ReceiverKind, Form] = {
    ReceiverKind.SLACK: _slack,
    ReceiverKind.TEAMS: _teams,
    ReceiverKind.PAGERDUTY: _pagerduty,
    ReceiverKind.WECOM: _wecom,
    ReceiverKind.DINGTALK: _dingtalk,
    ReceiverKind.FEISHU: _feishu,
}
"""From an incident, the secret and UTC seconds to what is posted."""
