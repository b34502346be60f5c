"""Configuration of the notify room: who is told, how often, and with which labels."""

import re
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator
from yarl import URL

from aiops.detect.base import Severity
from aiops.kit.http_settings import HttpClientSettings, require_one, secret_text
from aiops.kit.settings import Duration, Secret, Section


def _http_url(value: str) -> str:
    """Check without quoting: the URL may hold a password or be a secret itself."""
    try:
        url = URL(value)
    except ValueError:
        raise ValueError("not a URL; expected http://host:port/prefix") from None
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise ValueError("not an HTTP base URL; expected http://host:port/prefix without query and fragment")
    return value.rstrip("/")


def _label_name(value: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", value):
        raise ValueError(f"{value!r} is not a label name; expected letters, digits and _, no digit first")
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]
LabelName = Annotated[str, AfterValidator(_label_name)]


class AlertmanagerSettings(Section):
    """One Alertmanager. Name every peer of a cluster: each is told everything, and they deduplicate."""

    url: HttpUrl
    """Base URL with the path prefix, if it has one: ``http://alertmanager:9093``."""
    client: HttpClientSettings = HttpClientSettings()
    """Credentials and TLS."""
    timeout: Duration = Field(10.0, gt=0)
    """Longest time for one batch, seconds; as Prometheus."""


class WebhookSettings(Section):
    """One receiver of incidents as JSON."""

    url: Secret | None = None
    """Where to POST. Kept secret, because in many products the URL is the credential."""
    url_file: Path | None = None
    """File that holds the URL; read at every use, so it can be rotated. Needs a ``name``."""
    name: str = ""
    """What logs and metrics call it; empty: scheme, host and port of the URL."""
    signing_key: Secret | None = None
    """Signs the body with HMAC-SHA256 in the header ``X-Aiops-Signature``; without it there is no header."""
    signing_key_file: Path | None = None
    """File that holds the key; read at every use."""
    client: HttpClientSettings = HttpClientSettings()
    """Credentials and TLS."""
    timeout: Duration = Field(10.0, gt=0)
    """Longest time for one POST, seconds."""
    min_severity: Severity = Severity.INFO
    """Incidents below it are not told."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        require_one("url", self.url, self.url_file)
        if self.signing_key is not None and self.signing_key_file is not None:
            raise ValueError("expected at most one of signing_key and signing_key_file")
        if self.url is None:
            if not self.name:
                raise ValueError("name is missing; with url_file there is no URL to call the receiver by")
            return self
        try:
            url = URL(self.url.get_secret_value())
        except ValueError:
            raise ValueError("url is not a URL; expected https://host/path") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError("url is not an HTTP URL; expected https://host/path")
        return self

    @property
    def shown(self) -> str:
        """Name without secrets."""
        return self.name or str(URL(secret_text(self.url, None)).origin())


class ReceiverKind(StrEnum):
    """Services that people are told by."""

    SLACK = "slack"
    TEAMS = "teams"
    PAGERDUTY = "pagerduty"
    WECOM = "wecom"
    DINGTALK = "dingtalk"
    FEISHU = "feishu"
    APPRISE = "apprise"
    """E-mail and everything else, through the library of that name."""


class ReceiverSettings(Section):
    """A chat, a pager or a mailbox that hears when an incident begins, gets worse and ends."""

    name: str = Field(min_length=1)
    """What logs and metrics call it. The URL is never shown."""
    kind: ReceiverKind
    """``slack``, ``teams`` (a workflow's webhook), ``pagerduty`` (events v2), ``wecom``, ``dingtalk``, ``feishu``, or
    ``apprise`` for e-mail and everything else that the library of that name reaches (extra ``notify``)."""
    url: Secret | None = None
    """Webhook of the service, or an apprise URL such as ``mailtos://user:password@host?to=ops@example.org``. Kept
    secret. PagerDuty has one URL for all and needs none."""
    url_file: Path | None = None
    """File that holds the URL; read at every use, so it can be rotated."""
    secret: Secret | None = None
    """Routing key of PagerDuty; signing secret of a DingTalk or Feishu robot, if it has one."""
    secret_file: Path | None = None
    """File that holds the secret; read at every use."""
    min_severity: Severity = Severity.WARNING
    """Incidents below it are not told: ``critical`` for a pager, ``warning`` for a chat."""
    per_minute: float = Field(12.0, gt=0)
    """Most messages a minute, after a first few at once. Beyond it messages wait, and newer ones about the same
    incident replace them. WeCom and DingTalk take 20."""
    client: HttpClientSettings = HttpClientSettings()
    """TLS; of no use to ``apprise``."""
    timeout: Duration = Field(10.0, gt=0)
    """Longest time for one message, seconds."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind is ReceiverKind.PAGERDUTY:
            require_one("secret", self.secret, self.secret_file)
            if self.url is not None and self.url_file is not None:
                raise ValueError("expected at most one of url and url_file")
            return self
        require_one("url", self.url, self.url_file)
        if self.secret is not None and self.secret_file is not None:
            raise ValueError("expected at most one of secret and secret_file")
        if self.kind is ReceiverKind.APPRISE and find_spec("apprise") is None:
            raise ValueError("kind apprise needs the package apprise: pip install 'aiops[notify]'")
        return self


class NotifySettings(Section):
    """Receivers, and what stands on every alert."""

    alertmanagers: tuple[AlertmanagerSettings, ...] = ()
    """All peers; alerts go to every one, never to one of them."""
    webhooks: tuple[WebhookSettings, ...] = ()
    """Receivers of every change of an incident."""
    receivers: tuple[ReceiverSettings, ...] = ()
    """Chats, pagers and mailboxes beside Alertmanager: for people who have none, or for the diagnosis."""
    resend_delay: Duration = Field(60.0, gt=0)
    """Firing and recently resolved alerts are sent again this often, seconds: Alertmanager keeps no alerts over a
    restart. As Prometheus. An alert that is not sent again is taken as resolved after four times this."""
    external_labels: dict[LabelName, str] = Field(default_factory=dict)
    """Labels for all alerts (``cluster``, ``region``), where the alert has none of that name. Replicas of this
    daemon must carry equal ones, or every alert comes once per replica."""
    runbook_url: str = ""
    """Base URL of the runbooks; the rule's slug is appended. Default: ``/runbooks`` of this daemon, which serves the
    shipped ones."""
    queue_capacity: int = Field(10_000, ge=1)
    """Most alerts that wait for one receiver; beyond it the oldest are dropped and counted. As Prometheus."""
    give_up_after: Duration = Field(3600.0, gt=0)
    """An item that could not be delivered for so long is dropped and counted, seconds. Alerts are offered anew at
    every resend, so this ends only what is no news any more."""
    drain_timeout: Duration = Field(5.0, ge=0)
    """How long a stop may wait for the queues to empty, seconds; well below the 10 s for the whole daemon."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        told = [hook.shown for hook in self.webhooks] + [one.name for one in self.receivers]
        for names in ([am.url for am in self.alertmanagers], told):
            if len(names) != len(set(names)):
                raise ValueError("two receivers have the same URL or name; expected each once")
        return self
