"""The notify section refuses what could not work, without quoting secrets."""

from typing import Any

import pytest
from pydantic import ValidationError

from aiops.notify.settings import NotifySettings


def test_the_defaults_are_those_of_prometheus() -> None:
    settings = NotifySettings.model_validate({"alertmanagers": [{"url": "http://am:9093/prefix/"}]})
    assert (settings.resend_delay, settings.queue_capacity, settings.alertmanagers[0].timeout) == (60.0, 10_000, 10.0)
    assert settings.alertmanagers[0].url == "http://am:9093/prefix"


def test_a_webhook_url_is_a_secret() -> None:
    settings = NotifySettings.model_validate(
        {"webhooks": [{"url": "https://chat.example/T0KEN", "signing_key": "K3Y"}]}
    )
    assert settings.webhooks[0].shown == "https://chat.example"
    assert "T0KEN" not in f"{settings!r} {settings.model_dump_json()}"
    assert "K3Y" not in f"{settings!r} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"alertmanagers": [{"url": "am:9093"}]}, "expected http://host:port"),
        ({"alertmanagers": [{"url": "http://am:9093?x=1"}]}, "without query"),
        ({"alertmanagers": [{"url": "http://am:9093"}, {"url": "http://am:9093/"}]}, "expected each once"),
        ({"webhooks": [{"url": "chat.example/token"}]}, "expected https://host/path"),
        ({"webhooks": [{"url": "https://a/1"}, {"url": "https://a/2"}]}, "expected each once"),
        ({"external_labels": {"bad-label": "x"}}, "is not a label name"),
        ({"resend_delay": 0}, "greater than 0"),
        ({"resend_dely": 1}, "Extra inputs"),
    ],
)
def test_what_could_not_work_is_refused(section: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        NotifySettings.model_validate(section)
