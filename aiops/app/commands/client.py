"""Commands that ask a running daemon over its HTTP API. They trust nothing in its answers: labels come from afar."""

import json
import os
import time
import urllib.error
import urllib.request
from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any

from aiops.app.commands.listing import Listing, listing
from aiops.app.output import Column, CommandFailedError, Exit, Output, say, write

DEFAULT_URL = "http://127.0.0.1:9797"
LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
Record = Mapping[str, Any]
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a daemon is never behind the web proxy


def targets(args: Namespace) -> int:
    """``aiops targets [--watch]``."""
    return listing(args, _targets)


def _targets(args: Namespace) -> Listing:
    data = records(args, "targets", "activeTargets")
    columns = [Column("SOURCE"), Column("KIND"), Column("HEALTH"), Column("LAST"), Column("TOOK")]
    columns += [Column("ERROR", wraps=True)]
    columns += [Column("ENTITY", wide=True), Column("FACTS", wide=True)]
    rows = [
        [
            _text(target, "source"),
            _text(target, "kind"),
            _text(target, "health"),
            ago(target.get("lastScrape")),
            f"{took * 1000:.0f}ms" if isinstance(took := target.get("lastScrapeDuration"), int | float) else "",
            _reason(target, wide=args.output == Output.WIDE),
            entity_text(target.get("entity")),
            _pairs(target.get("facts")),
        ]
        for target in data
    ]
    return Listing(data, columns, rows)


def alerts(args: Namespace) -> int:
    """``aiops alerts [--watch]``."""
    return listing(args, _alerts)


def _alerts(args: Namespace) -> Listing:
    data = records(args, "alerts", "alerts")
    columns = [
        Column("STATE"),
        Column("ALERT"),
        Column("SEVERITY"),
        Column("SINCE"),
        Column("LABELS"),  # what to look at; the name of the alert says what is wrong
        Column("SUMMARY", wide=True),
        Column("VALUE", wide=True),
        Column("FINGERPRINT", wide=True),
        Column("MUTED BY", wide=True),
        Column("AFTER", wide=True),
    ]
    rows = []
    for alert in data:
        labels = dict(_mapping(alert.get("labels")))
        name, severity = str(labels.pop("alertname", "")), str(labels.pop("severity", ""))
        summary = _text(_mapping(alert.get("annotations")), "summary")
        since = ago(alert.get("activeAt"))
        silences = alert.get("silencedBy")
        comments = [_text(_mapping(one), "comment") for one in (silences if isinstance(silences, list) else ())]
        muted = _text(alert, "mutedBy") or "; ".join(comments)
        value, after = _text(alert, "value"), _text(alert, "after")
        row = [_told(alert), name, severity, since, _pairs(labels), summary, value]
        rows.append([*row, _text(alert, "fingerprint"), muted, after])
    return Listing(data, columns, rows)


def incidents(args: Namespace) -> int:
    """``aiops incidents [--watch]``."""
    return listing(args, _incidents)


def _incidents(args: Namespace) -> Listing:
    data = records(args, "incidents", "incidents")
    columns = [Column("ID"), Column("STATE"), Column("SEVERITY"), Column("SINCE"), Column("ALERTS")]
    columns += [Column("SUMMARY", wraps=True), Column("ENDED", wide=True), Column("CONFIDENCE", wide=True)]
    rows = [
        [
            _text(incident, "id"),
            _text(incident, "state"),
            _text(incident, "severity"),
            ago(incident.get("startsAt")),
            str(len(listed)) if isinstance(listed := incident.get("alerts"), list) else "",
            _text(incident, "title"),
            ago(incident.get("endsAt")),
            _number(incident.get("confidence"), "{:.0%}"),
        ]
        for incident in data
    ]
    return Listing(data, columns, rows)


def slo(args: Namespace) -> int:
    """``aiops slo [--watch]``."""
    return listing(args, _slo)


def _slo(args: Namespace) -> Listing:
    data = records(args, "slo", "budgets")
    columns = [Column("SLO"), Column("POOL"), Column("OBJECTIVE"), Column("LEFT"), Column("BURN 1h"), Column("BURN 6h")]
    columns += [Column("BURN 3d"), Column("EVENTS", wide=True), Column("BAD", wide=True)]
    rows = []
    for budget in data:
        burns = _mapping(budget.get("burnRates"))
        labels = _mapping(_mapping(budget.get("entity")).get("labels"))
        rows.append(
            [
                _text(budget, "slo"),
                "/".join(str(labels[name]) for name in ("pool", "model_name") if name in labels),
                _number(budget.get("objective"), "{:.2%}"),
                _left(budget.get("budgetLeft")),
                *(_number(burns.get(window), "{:.1f}") for window in ("1h", "6h", "3d")),
                *(_number(budget.get(name), "{:.0f}") for name in ("events", "bad")),
            ]
        )
    return Listing(data, columns, rows)


def healthcheck(args: Namespace) -> int:
    """``aiops healthcheck``."""
    path = "/-/ready" if args.ready else "/-/healthy"
    base = base_url(args)
    status, body = fetch(base, path, args.timeout)
    if status == 200:
        write("ready\n" if args.ready else "healthy\n")
        return Exit.OK
    say(f"aiops: {base}{path} answers {status}: {body[:500].decode(errors='replace').strip()}")
    return Exit.FAILED


def base_url(args: Namespace) -> str:
    """The daemon that is meant: ``--url``, else ``AIOPS_URL``, else the default of this machine."""
    url = str(args.url or os.environ.get("AIOPS_URL") or DEFAULT_URL)
    if not url.startswith(("http://", "https://")):
        raise CommandFailedError(f"{url!r} is no URL of a daemon; expected http://HOST:PORT or https://HOST:PORT")
    return url.rstrip("/")


def authorization() -> dict[str, str]:
    """Header with the token in ``AIOPS_TOKEN_FILE``; nothing without that variable. A flag would be seen by ``ps``."""
    file = os.environ.get("AIOPS_TOKEN_FILE")
    return {"Authorization": f"Bearer {token_in(Path(file), 'AIOPS_TOKEN_FILE: ')}"} if file else {}


def token_in(file: Path, whose: str = "") -> str:
    """The token in a file; an error names the file and never shows what is in it."""
    try:
        token = file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise CommandFailedError(f"{whose}{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        token = ""
    if not token.isprintable() or not token or " " in token:
        raise CommandFailedError(f"{whose}{file}: expected a token, one word of ASCII")
    return token


def fetch(base: str, path: str, timeout_seconds: float, *, sent: Record | None = None) -> tuple[int, bytes]:
    """GET from the daemon, or POST a body as JSON.

    Returns
    -------
    HTTP status and body.

    Raises
    ------
    CommandFailedError
        Nobody answers, or with too much.
    """
    headers = {"Accept": "application/json, text/plain", **authorization()}
    headers |= {"Content-Type": "application/json"} if sent is not None else {}
    data = None if sent is None else json.dumps(sent).encode()
    request = urllib.request.Request(base + path, data, headers)  # noqa: S310 - base_url() checked the scheme
    try:
        with _DIRECT.open(request, timeout=timeout_seconds) as answer:
            status, body = answer.status, answer.read(LARGEST_ANSWER_BYTES + 1)
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read(LARGEST_ANSWER_BYTES)
        error.close()
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        reason = getattr(reason, "strerror", None) or reason
        raise CommandFailedError(
            f"no daemon answers at {base} ({reason}); start one with 'aiops run', or name another with --url"
        ) from None
    if len(body) > LARGEST_ANSWER_BYTES:
        raise CommandFailedError(f"{base}{path} answers with more than {LARGEST_ANSWER_BYTES} bytes")
    return status, body


def records(args: Namespace, name: str, key: str, *, body: Record | None = None) -> list[Record]:
    """The list under ``key`` of one API answer, to a POST when there is a body; an item that is no mapping is left
    out."""
    listed = answer_of(args, f"/api/v1/{name}", body=body).get(key)
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


def answer_of(args: Namespace, path: str, *, body: Record | None = None) -> Record:
    """The data of one API answer, to a POST when there is a body.

    Raises
    ------
    CommandFailedError
        Nobody answers, or not as a daemon does, or it refuses.
    """
    base = base_url(args)
    status, answer = fetch(base, path, args.timeout, sent=body)
    try:
        envelope = json.loads(answer)
    except ValueError:
        envelope = None
    if not isinstance(envelope, dict) or "status" not in envelope:
        raise CommandFailedError(f"{base}{path} answers {status} and not as an aiops daemon does")
    if envelope["status"] != "success":
        hint = "; AIOPS_TOKEN_FILE names the file with a token" if status == HTTPStatus.UNAUTHORIZED else ""
        raise CommandFailedError(f"the daemon refuses ({status}): {envelope.get('error') or 'no reason given'}{hint}")
    return _mapping(envelope.get("data"))


def ago(moment: object, now: float | None = None) -> str:
    """Age of a moment (UTC seconds or RFC 3339) as one number and unit: ``12s``, ``5m``, ``3h``, ``2d``."""
    if isinstance(moment, str):
        try:
            return ago(datetime.fromisoformat(moment).timestamp(), now)
        except ValueError:
            return moment
    if not isinstance(moment, int | float) or moment <= 0:
        return ""
    age = max((now if now is not None else time.time()) - moment, 0.0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if age >= 2 * size:
            return f"{int(age // size)}{unit}"
    return f"{int(age)}s"


def _mapping(value: object) -> Record:
    return value if isinstance(value, dict) else {}


def _text(record: Record, name: str) -> str:
    value = record.get(name)
    return "" if value is None else str(value)


def _told(alert: Record) -> str:
    """State, and whether anybody hears of it."""
    held = "muted" if alert.get("mutedBy") else "silenced" if alert.get("silencedBy") else ""
    return f"{_text(alert, 'state')}, {held}" if held else _text(alert, "state")


def _number(value: object, form: str) -> str:
    return form.format(value) if isinstance(value, int | float) else "unknown"


def _left(ratio: object) -> str:
    return f"used {1.0 - ratio:.1f}x" if isinstance(ratio, float) and ratio < 0.0 else _number(ratio, "{:.1%}")


def _reason(target: Record, *, wide: bool) -> str:
    """Last error; a narrow table leaves out the URL it begins with, which would push the reason off the screen."""
    error, url = _text(target, "lastError"), _text(_mapping(target.get("facts")), "url")
    return error if wide or not url else error.removeprefix(url).lstrip(": ")


def _pairs(value: object) -> str:
    pairs: Sequence[tuple[str, object]] = tuple(_mapping(value).items())
    return " ".join(f"{key}={_plain(inner)}" for key, inner in pairs)


def _plain(value: object) -> str:
    """Counts come as floats: ``20.0`` is 20, and nobody reads the last digits of a time."""
    return _pairs(value) if isinstance(value, dict) else f"{value:.6g}" if isinstance(value, float) else str(value)


def entity_text(value: object) -> str:
    """An entity of an answer in words: its kind and labels."""
    entity = _mapping(value)
    return f"{_text(entity, 'kind')} {_pairs(entity.get('labels'))}".strip() if "labels" in entity else _pairs(entity)
