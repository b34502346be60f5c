"""Asks an OpenAI-compatible endpoint, within a deadline, a budget and a circuit breaker.

Whatever the endpoint does (hangs, drips, lies about its usage, sends a megabyte), a call ends in time, costs no more
than the day's budget, and either returns a :class:`Reply` or raises :class:`~aiops.kit.retry.Failure`.
"""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiops.explain.settings import LlmSettings, ResponseFormat
from aiops.kit.clock import SYSTEM_CLOCK, Clock
from aiops.kit.http import HttpClient
from aiops.kit.retry import Failure, Permanent, Temporary, backoff_seconds

_ANSWER_BYTES = 256 * 1024
_FAILURES_TO_OPEN = 3
_COOLDOWN_SECONDS, _LONGEST_COOLDOWN_SECONDS = 60.0, 1800.0
_FREE_REPEATS, _REPEAT_SHARE = 5, 0.1
_DAY_SECONDS = 86_400.0
_CHARACTERS_PER_TOKEN = 2.0  # on the safe side: English has four, Chinese about one and a half


@dataclass(frozen=True, slots=True)
class Reply:
    """Text of an answer with what it cost: tokens as the endpoint counts them (else estimated) and USD."""

    text: str
    tokens_in: int
    tokens_out: int
    cost: float


@dataclass(slots=True)
class LlmCounts:
    """What was asked since the start.

    Attributes
    ----------
    calls, failures
        Calls over HTTP, and those without a usable answer.
    refused
        Questions that were not asked: the day's budget is spent, or the breaker is open.
    """

    calls: int = 0
    failures: int = 0
    refused: int = 0
    repeats: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0


class Llm:
    """One endpoint and model."""

    def __init__(
        self, settings: LlmSettings, client: HttpClient, clock: Clock = SYSTEM_CLOCK, rng: random.Random | None = None
    ) -> None:
        self._settings = settings
        self._client = client
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - jitter
        self._day = -1
        self._day_tokens = 0
        self._day_cost = 0.0
        self._failures_in_a_row = 0
        self._open_until = 0.0
        self.counts = LlmCounts()

    @property
    def open(self) -> bool:
        """The breaker is open: nobody is asked now."""
        return self._clock.monotonic() < self._open_until

    async def ask(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, object]) -> Reply:
        """Ask once, with repeats, within the deadline.

        Raises
        ------
        Temporary, Permanent
            With the reason; the key is in none of them.
        """
        problem = self._refusal(messages)
        if problem:
            self.counts.refused += 1
            raise Temporary(problem)
        try:
            async with asyncio.timeout(self._settings.deadline):
                reply = await self._attempts(self._body(messages, schema))
        except TimeoutError:
            self._failed()
            raise Temporary(f"the language model gave no answer within {self._settings.deadline:g} s") from None
        except Failure:
            self._failed()
            raise
        self._failures_in_a_row = 0
        return reply

    def _refusal(self, messages: Sequence[Mapping[str, str]]) -> str:
        settings, today = self._settings, int(self._clock.now() // _DAY_SECONDS)
        if today != self._day:
            self._day, self._day_tokens, self._day_cost = today, 0, 0.0
        if self.open:
            return "the language model failed several times in a row and is left alone for a while"
        tokens_in = _estimated("".join(message["content"] for message in messages))
        if settings.tokens_per_day and self._day_tokens + tokens_in + settings.max_tokens > settings.tokens_per_day:
            return "the day's tokens for the language model are spent"
        if (
            settings.cost_per_day
            and self._day_cost + self._cost(tokens_in, settings.max_tokens) > settings.cost_per_day
        ):
            return "the day's money for the language model is spent"
        return ""

    async def _attempts(self, body: bytes) -> Reply:
        for attempt in range(self._settings.attempts):
            try:
                return await self._call(body)
            except Temporary as error:
                last = attempt + 1 == self._settings.attempts
                if last or self.counts.repeats >= _FREE_REPEATS + _REPEAT_SHARE * self.counts.calls:
                    raise
                jitter = backoff_seconds(attempt, base=1.0, cap=10.0, rng=self._rng)
                await asyncio.sleep(jitter if error.delay_seconds is None else error.delay_seconds)
                self.counts.repeats += 1
        raise AssertionError("the loop returns or raises")

    async def _call(self, body: bytes) -> Reply:
        self.counts.calls += 1
        try:
            answer = await self._client.ask(
                "POST",
                f"{self._settings.url.rstrip('/')}/chat/completions",
                timeout_seconds=self._settings.timeout,
                limit_bytes=_ANSWER_BYTES,
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                body=body,
            )
            text, usage = _content(answer.require_ok().body)
        except Failure:
            self.counts.failures += 1
            self._spend(_estimated(body.decode()), 0)  # whoever failed may have charged for it
            raise
        tokens_in = _count(usage.get("prompt_tokens"), _estimated(body.decode()))
        tokens_out = _count(usage.get("completion_tokens"), _estimated(text))
        return Reply(text, tokens_in, tokens_out, self._spend(tokens_in, tokens_out))

    def _spend(self, tokens_in: int, tokens_out: int) -> float:
        cost = self._cost(tokens_in, tokens_out)
        self._day_tokens += tokens_in + tokens_out
        self._day_cost += cost
        self.counts.tokens_in += tokens_in
        self.counts.tokens_out += tokens_out
        self.counts.cost += cost
        return cost

    def _cost(self, tokens_in: int, tokens_out: int) -> float:
        return (tokens_in * self._settings.price_in + tokens_out * self._settings.price_out) / 1e6

    def _failed(self) -> None:
        self._failures_in_a_row += 1
        over = self._failures_in_a_row - _FAILURES_TO_OPEN
        if over >= 0:
            wait = min(_LONGEST_COOLDOWN_SECONDS, _COOLDOWN_SECONDS * 2.0 ** min(over, 10))
            self._open_until = self._clock.monotonic() + wait

    def _body(self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, object]) -> bytes:
        settings = self._settings
        body: dict[str, object] = {
            "model": settings.model,
            "messages": list(messages),
            "temperature": 0,
            "max_tokens": settings.max_tokens,
            "stream": False,
        }
        if settings.response_format is ResponseFormat.JSON_SCHEMA:
            described = {"name": "summary", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": described}
        elif settings.response_format is ResponseFormat.JSON_OBJECT:
            body["response_format"] = {"type": "json_object"}
        body |= settings.body
        return json.dumps({name: value for name, value in body.items() if value is not None}).encode()


def _content(body: bytes) -> tuple[str, Mapping[str, object]]:
    """Text and usage of a chat completion; whatever else it is, is a failure that stays."""
    try:
        answer = json.loads(body)
        message = answer["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise Permanent("the language model's server did not answer with a chat completion") from None
    if isinstance(message, list):
        message = "".join(str(part.get("text", "")) for part in message if isinstance(part, dict))
    if not isinstance(message, str) or not message.strip():
        raise Permanent("the language model's answer is empty")
    usage = answer.get("usage")
    return message, usage if isinstance(usage, dict) else {}


def _count(value: object, estimate: int) -> int:
    """A number of tokens that a stranger names, where it can be one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10_000_000 else estimate


def _estimated(text: str) -> int:
    return int(len(text) / _CHARACTERS_PER_TOKEN) + 1
