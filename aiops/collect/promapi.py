"""Questions to Prometheus and to what speaks its query API (Thanos, Mimir, VictoriaMetrics).

The one home of ``prometheus_api_client``, which is imported only when somebody asks: it is synchronous and brings
``requests``, and a daemon that asks nobody needs neither. Of the library only raw answers are used.
Its tables need pandas and cannot read the sample ``NaN``, and it waits for ever, drops warnings and reads answers of
any size unless told otherwise; :class:`History` tells it. Everything here blocks: :func:`with_history` runs it in a
thread of its own and gives up at the deadline.
"""

import asyncio
import json
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Annotated, Any, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator
from yarl import URL

from aiops import __version__
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.gzip_stream import Inflater
from aiops.kit.http_settings import ExtraHeaders, HttpClientSettings, secret_text
from aiops.kit.retry import Failure, Permanent, Temporary, retry_after_seconds
from aiops.kit.settings import Duration, Section
from aiops.kit.text import clipped, printable
from aiops.signals.types import Labels

MOST_POINTS = 11_000
"""Points of one series that Prometheus puts into one answer."""
ANSWER_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024
_OK = 200
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429})
_WHOLE_OR_NOTHING = {"partial_response": "false", "deny_partial_response": "1", "nocache": "1"}
"""What is missing because a store of Thanos (a node of VictoriaMetrics) is away must not look as if it were gone; and
VictoriaMetrics gives the newest seconds only to those who want no cached answer."""
_Result = TypeVar("_Result")


def checked_url(text: str) -> str:
    """Return the address without a slash at its end; ValueError when it is none, or holds credentials."""
    if not text:
        return text
    url = URL(text)
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise ValueError("expected http(s)://host:port")
    if url.user is not None:
        raise ValueError("credentials do not belong into the URL, which is shown; use client")
    return text.rstrip("/")


def checked_selector(text: str) -> str:
    """Return label matchers; ValueError when they do not stand in braces."""
    if not text.startswith("{") or not text.endswith("}"):
        raise ValueError('expected label matchers in braces, such as {instance="$instance"}')
    return text


class QueryApiSettings(Section):
    """Where a query API is, and who we are to it."""

    url: Annotated[str, AfterValidator(checked_url)] = ""
    """Prometheus, or anything with its query API: ``http://prometheus:9090``. Empty: nothing is asked."""
    client: HttpClientSettings = HttpClientSettings()
    """Credentials and TLS. Redirects are never followed, and ``server_name`` cannot be set here."""
    headers: ExtraHeaders = Field(default_factory=dict)
    """Sent along, such as ``X-Scope-OrgID`` for a tenant of Mimir."""
    timeout: Annotated[Duration, Field(gt=0)] = 10.0
    """Longest wait for the next bytes of an answer."""
    deadline: Annotated[Duration, Field(gt=0)] = 60.0
    """Longest time for all questions together."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.client.follow_redirects or self.client.tls.server_name:
            raise ValueError("client.follow_redirects and client.tls.server_name are not supported here")
        return self


class PrometheusSettings(QueryApiSettings):
    """History to learn from at start, so that detectors are ready at once instead of after some minutes."""

    selector: Annotated[str, AfterValidator(checked_selector)] = '{instance="$instance"}'
    """Matchers of all series of one target. ``$instance`` and ``$job`` stand for our labels of the target; write
    others where Prometheus has another name for it, ``{pod="llm-0"}`` for example."""
    lookback: Annotated[Duration, Field(ge=60, le=86_400)] = 3600.0
    """How far back to read. An hour is what memory holds, and several times what detectors need to be ready."""
    step: Annotated[Duration, Field(gt=0)] | None = None
    """Time between two points. Default: how often Prometheus scraped the target, at least our own interval."""
    deadline: Annotated[Duration, Field(gt=0)] = 60.0
    """Longest time for all questions together; what was read until then is used. Without an answer the detectors
    learn from what they see, as they would without history."""


@dataclass(frozen=True, slots=True)
class Range:
    """An answer to a range query.

    Attributes
    ----------
    at
        float64 [points], UTC seconds, evenly spaced.
    labels
        Labels of each series, ``__name__`` among them.
    values
        float64 [series, points]; NaN = no sample, or one that says NaN.
    """

    at: NDArray[np.float64]
    labels: tuple[Labels, ...]
    values: NDArray[np.float64]


class Samples(NamedTuple):
    """One series of an answer: its labels, ``__name__`` among them, and its samples, UTC seconds and values.

    Of a range selector (``up[1m]``) these are the samples as they were stored, each with its own time. Of an instant
    vector there is one, and its time is that of the question, also where the value is five minutes old.
    """

    labels: Mapping[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]


class History:
    """Asks one Prometheus. Blocking; belongs to one thread.

    Attributes
    ----------
    warnings
        What the answers warned of so far, each text once. An answer with warnings may be incomplete.

    Raises
    ------
    Permanent
        When the library is not installed.
    Temporary
        When a secret cannot be read now.
    """

    def __init__(self, settings: QueryApiSettings, clock: Clock = SYSTEM_CLOCK) -> None:
        self.warnings: dict[str, None] = {}
        self._url = settings.url
        self._clock = clock
        self._deadline_seconds = settings.deadline
        self._timeout = settings.timeout
        self._connect = _connected(settings, self._guarded)
        self.begin()

    def begin(self) -> None:
        """Begin anew to count the time for all questions."""
        self.warnings.clear()
        self._until = self._clock.monotonic() + self._deadline_seconds

    def read(self, query: str, start: float, end: float, step: float, *, most_points: int = MOST_POINTS) -> Range:
        """Evaluate ``query`` at ``start``, ``start + step``, … ≤ ``end`` (UTC seconds).

        Parameters
        ----------
        most_points
            Points per request; the range is cut into as many as it takes.

        Raises
        ------
        Temporary, Permanent
            Naming the URL and what it said. Also Temporary when the deadline passes.
        """
        at = start + step * np.arange(int((end - start) / step + 1e-9) + 1, dtype=np.float64)
        rows: dict[Labels, NDArray[np.float64]] = {}
        for first in range(0, len(at), most_points):
            part = at[first : first + most_points]
            for labels, times, values in self._series(query, float(part[0]), float(part[-1]), step):
                row = rows.setdefault(labels, np.full(len(at), np.nan))
                places = np.rint((times - start) / step).astype(np.intp)
                inside = (places >= first) & (places < first + len(part))
                row[places[inside]] = values[inside]
        return Range(at, tuple(rows), np.array(list(rows.values())).reshape(len(rows), len(at)))

    def check_deadline(self) -> None:
        """Raise Temporary once the time for all questions is over."""
        if self._clock.monotonic() > self._until:
            raise Temporary(f"{self._url}: not done within {self._deadline_seconds:g} s")

    def close(self) -> None:
        """Let go of the connections."""
        self._connect.close()

    def samples(self, query: str, at: float, *, most_series: int) -> list[Samples]:
        """Evaluate ``query``, an instant vector or a range selector, once at ``at`` (UTC seconds).

        The server is told how long it may take and, where it knows the parameter, how many series it may give.

        Raises
        ------
        Temporary, Permanent
            As :meth:`read`; Permanent also when there are more than ``most_series``.
        """
        self.check_deadline()
        bounds = {"time": f"{at:.3f}", "timeout": f"{self._timeout:g}s", "limit": str(most_series + 1)}
        with self._asking():
            found: Any = self._connect.custom_query(query, params=bounds | _WHOLE_OR_NOTHING)
            if len(found) > most_series:
                raise Permanent(f"{self._url}: more than {most_series} series: {clipped(query, 100)}")
            return [one for series in found if (one := _samples(series)) is not None]

    def names(self, selector: str, start: float, end: float) -> list[str]:
        """Names of the metrics of a time; ``selector`` may be empty: of all."""
        self.check_deadline()
        span = {"start": f"{start:.3f}", "end": f"{end:.3f}"} | ({"match[]": selector} if selector else {})
        with self._asking():
            return [str(name) for name in self._connect.get_label_values("__name__", params=span | _WHOLE_OR_NOTHING)]

    def _series(
        self, query: str, start: float, end: float, step: float
    ) -> Iterator[tuple[Labels, NDArray[np.float64], NDArray[np.float64]]]:
        """Labels, times and values of each series of one answer."""
        self.check_deadline()
        # The library rounds start and end to whole seconds, so the exact ones are given as further parameters.
        exact = {"start": f"{start:.3f}", "end": f"{end:.3f}"}
        moments = (datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC))
        with self._asking():
            found: Any = self._connect.custom_query_range(query, *moments, f"{step:.3f}", params=exact)
            for series in found:
                if (one := _samples(series)) is not None:
                    yield tuple(sorted(one.labels.items())), np.array(one.times), np.array(one.values)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn what the library and a strange answer raise into failures."""
        try:
            yield
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            raise Permanent(f"{self._url} gave no answer: {type(error).__name__} {clipped(str(error), 200)}") from error
        except OSError as error:  # all errors of requests are one
            raise Temporary(f"{self._url} cannot be asked: {_reason(error)}") from error

    def _guarded(self, response: Any, *_: object, **__: object) -> None:
        """Read an answer within the bounds, before the library takes it as a whole."""
        body = self._body(response)
        if response.status_code != _OK:
            raise self._refusal(response.status_code, body, retry_after_seconds(response.headers))
        if b'"warnings"' in body:
            with suppress(ValueError, TypeError, AttributeError):
                self.warnings.update(dict.fromkeys(printable(str(text)) for text in json.loads(body).get("warnings")))
        response.raw = BytesIO(body)

    def _body(self, response: Any) -> bytes:
        inflater = Inflater() if response.headers.get("Content-Encoding", "") == "gzip" else None
        pieces: list[bytes] = []
        size = 0
        try:
            while packed := response.raw.read(_CHUNK_BYTES, decode_content=False):
                self.check_deadline()
                for piece in inflater.unpack(packed) if inflater else (packed,):
                    pieces.append(piece)
                    size += len(piece)
                    if size > ANSWER_BYTES:
                        raise Permanent(f"{self._url} sent more than {ANSWER_BYTES} bytes; raise step or cut lookback")
            if inflater:
                inflater.finish()
        except zlib.error as error:
            raise Temporary(f"{self._url} sent a damaged gzip body: {error}") from error
        return b"".join(pieces)

    def _refusal(self, status: int, body: bytes, delay_seconds: float | None) -> Failure:
        said = ""
        with suppress(ValueError, AttributeError):
            said = ": " + clipped(printable(str(json.loads(body).get("error", ""))), 200)
        message = f"{self._url} answered {status}, expected 200{said}"
        if status >= 500 or status in _WORTH_ANOTHER_TRY:
            return Temporary(message, delay_seconds)
        return Permanent(message)


def _samples(series: Mapping[str, Any]) -> Samples | None:
    """One series of an answer; None for a native histogram, which has no samples that we could read."""
    pairs = series.get("values") or ([series["value"]] if "value" in series else ())
    if not pairs:
        return None
    times, values = zip(*pairs, strict=True)
    labels = {str(name): str(value) for name, value in series["metric"].items()}
    return Samples(labels, tuple(map(float, times)), tuple(map(float, values)))


def _connected(settings: QueryApiSettings, guard: Callable[..., None]) -> Any:
    """Make the library's client: no proxy or netrc from the environment, no retries of its own, bounded answers."""
    try:
        import requests  # noqa: PLC0415 - heavy, and only for whom has a Prometheus
        from prometheus_api_client import PrometheusConnect  # noqa: PLC0415
    except ImportError as error:
        raise Permanent(f"{settings.url} needs the package prometheus-api-client (aiops[history]): {error}") from error
    client, tls = settings.client, settings.client.tls
    session = requests.Session()
    session.trust_env = False
    session.headers.update(settings.headers)
    session.headers.update({"User-Agent": f"aiops/{__version__}", "Accept-Encoding": "gzip"})
    session.hooks["response"] = [guard]
    session.verify = False if tls.insecure_skip_verify else str(tls.ca_file) if tls.ca_file else True
    if tls.cert_file:
        session.cert = (str(tls.cert_file), str(tls.key_file)) if tls.key_file else str(tls.cert_file)
    if client.authorization is not None:
        scheme = client.authorization
        session.headers["Authorization"] = f"{scheme.type} {secret_text(scheme.credentials, scheme.credentials_file)}"
    auth = None
    if client.basic_auth is not None:
        password = secret_text(client.basic_auth.password, client.basic_auth.password_file)
        auth = (client.basic_auth.username.encode(), password.encode())
    return PrometheusConnect(settings.url, session=session, auth=auth, retry=0, timeout=settings.timeout)


def _reason(error: BaseException) -> str:
    """Innermost cause: the texts of requests wrap it three times, with the URL in each."""
    inner: Any = error
    while isinstance(deeper := getattr(inner, "reason", None) or next(iter(inner.args), None), BaseException):
        inner = deeper
    return clipped(printable(str(inner)), 200)


async def with_history(
    settings: PrometheusSettings, work: Callable[[History], _Result], clock: Clock = SYSTEM_CLOCK
) -> _Result:
    """Run ``work`` in a thread with a :class:`History`, and return what it returns; see :func:`in_thread`."""

    def run() -> _Result:
        history = History(settings, clock)
        try:
            return work(history)
        finally:
            history.close()

    return await in_thread(run, settings)


async def in_thread(work: Callable[[], _Result], settings: QueryApiSettings) -> _Result:
    """Run ``work``, which asks, in a thread, and return what it returns.

    The thread is a daemon thread, not one of a pool: a Prometheus that answers a byte a second must not keep the
    process from ending.

    Raises
    ------
    Temporary
        After twice the deadline, also when the thread hangs; a hanging thread is left behind.
    Exception
        Whatever ``work`` raises.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[_Result] = loop.create_future()

    def settle(result: _Result | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]  # None only when it is the result

    def run() -> None:
        result, problem = None, None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - carried over to the caller
            problem = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, result, problem)

    threading.Thread(target=run, name="history", daemon=True).start()
    try:
        # The thread looks at the deadline itself; it gets as long again to make something of what it has by then.
        async with asyncio.timeout(2 * settings.deadline):
            return await answer
    except TimeoutError as error:
        raise Temporary(f"{settings.url} gave no answer within {2 * settings.deadline:g} s") from error


def matchers(selector: str, labels: Labels) -> str:
    """The selector with ``$instance`` and ``$job`` replaced by a target's labels, quoted for PromQL."""
    for name in ("instance", "job"):
        value = dict(labels).get(name, "")
        selector = selector.replace(f"${name}", json.dumps(value, ensure_ascii=False)[1:-1])
    return selector


def same_target(labels: Sequence[Labels], job: str) -> list[int]:
    """Positions of the series that belong to one target of Prometheus.

    Raises
    ------
    Permanent
        When several targets match and none of them alone has our job: their counters must not be added up.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for position, pairs in enumerate(labels):
        have = dict(pairs)
        groups.setdefault((have.get("job", ""), have.get("instance", "")), []).append(position)
    if len(groups) > 1:
        groups = {group: positions for group, positions in groups.items() if group[0] == job} or groups
    if len(groups) > 1:
        shown = ", ".join("/".join(group) for group in sorted(groups)[:3])
        raise Permanent(f"{len(groups)} targets of Prometheus match ({shown}); narrow prometheus.selector")
    return next(iter(groups.values()), [])
