"""A generic webhook: every change of an incident as one JSON document.

``X-Aiops-Signature: sha256=<hex>`` is the HMAC-SHA256 of the body, when a key is set. The same state may come
twice; ``incident.id`` with ``incident.updatedAt`` tells.
"""

import hashlib
import hmac
import json
from collections.abc import Sequence

from aiops.kit.http import HttpClient
from aiops.kit.http_settings import secret_text
from aiops.notify.notice import IncidentNotice, fingerprint, record_of, rfc3339
from aiops.notify.settings import WebhookSettings

_ANSWER_BYTES = 64 * 1024
SIGNATURE_HEADER = "X-Aiops-Signature"


class Webhook:
    """One receiver of incidents."""

    kind = "webhook"
    batch_size = 1

    def __init__(self, settings: WebhookSettings, client: HttpClient) -> None:
        self.name = settings.shown
        self._settings = settings
        self._client = client

    def problem(self, item: IncidentNotice) -> str:  # noqa: ARG002 - the seam asks
        """Nothing that JSON could not carry."""
        return ""

    def warning(self) -> str:
        """Nothing is known of the receiver but its answers."""
        return ""

    async def send(self, items: Sequence[IncidentNotice]) -> None:
        """POST one document per incident."""
        for item in items:
            body = json.dumps(document_of(item)).encode()
            answer = await self._client.ask(
                "POST",
                secret_text(self._settings.url, self._settings.url_file),
                timeout_seconds=self._settings.timeout,
                limit_bytes=_ANSWER_BYTES,
                headers={"Content-Type": "application/json", **self._signature(body)},
                body=body,
                shown=self.name,
            )
            answer.require_ok()

    def _signature(self, body: bytes) -> dict[str, str]:
        key = secret_text(self._settings.signing_key, self._settings.signing_key_file)
        if not key:
            return {}
        return {SIGNATURE_HEADER: f"sha256={hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}"}


def document_of(item: IncidentNotice) -> dict[str, object]:
    """JSON form of an incident; ``endsAt`` is missing while it is open."""
    incident = item.incident
    record: dict[str, object] = {
        "id": incident.id,
        "title": incident.title,
        "severity": str(incident.severity),
        "startsAt": rfc3339(incident.started_at),
        "updatedAt": rfc3339(incident.updated_at),
    }
    if not incident.open:
        record["endsAt"] = rfc3339(incident.ended_at)
    if item.url:
        record["url"] = item.url
    if item.summary:
        record["summary"] = item.summary
    if item.cause:
        record["cause"] = item.cause
    return {
        "version": "1",
        "status": "firing" if incident.open else "resolved",
        "incident": record,
        "alerts": [
            {"status": alert.status, **record_of(alert), "fingerprint": fingerprint(alert.labels)}
            for alert in item.alerts
        ],
    }
