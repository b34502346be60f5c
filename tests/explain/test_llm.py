"""Repeats, budgets, the breaker and the key of the client."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from pydantic import ValidationError

from aiops.explain.llm import Llm
from aiops.explain.settings import LlmSettings
from aiops.kit.clock import Clock
from aiops.kit.http import HttpClient, open_session
from aiops.kit.retry import Failure, Permanent, Temporary
from tests.explain.llm_server import completion, serving, status

MESSAGES = ({"role": "user", "content": "Say it."},)


class Time:
    def __init__(self) -> None:
        self.at = 1_790_000_000.0

    def clock(self) -> Clock:
        return Clock(now=lambda: self.at, monotonic=lambda: self.at)


@pytest_asyncio.fixture
async def session() -> AsyncIterator[ClientSession]:
    session = open_session()
    yield session
    await session.close()


def llm(session: ClientSession, url: str, time: Time | None = None, **more: object) -> Llm:
    base: dict[str, object] = {"url": url, "model": "m", "timeout": 2.0, "deadline": 5.0, "attempts": 1}
    settings = LlmSettings.model_validate(base | more)
    return Llm(settings, HttpClient(settings.client, session), (time or Time()).clock(), random.Random(3))


class NoWait(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return 0.0


async def test_what_may_pass_is_tried_again(session: ClientSession) -> None:
    async with serving(status(503), status(429), "fine") as script:
        client = llm(session, script.url, attempts=3)
        client._rng = NoWait()
        reply = await client.ask(MESSAGES, {})
    assert (reply.text, client.counts.calls, client.counts.failures, client.counts.repeats) == ("fine", 3, 2, 2)


async def test_what_stays_is_not_tried_again(session: ClientSession) -> None:
    async with serving(status(400)) as script:
        client = llm(session, script.url, attempts=3)
        with pytest.raises(Permanent, match="400"):
            await client.ask(MESSAGES, {})
    assert client.counts.calls == 1


async def test_repeats_have_a_budget(session: ClientSession) -> None:
    time = Time()
    async with serving(status(500)) as script:
        client = llm(session, script.url, time, attempts=5)
        client._rng = NoWait()
        for _ in range(6):
            time.at += 7200.0
            with pytest.raises(Temporary):
                await client.ask(MESSAGES, {})
    assert client.counts.calls == 6 + client.counts.repeats
    assert client.counts.repeats <= 7


async def test_the_breaker_opens_waits_longer_each_time_and_closes(session: ClientSession) -> None:
    time = Time()
    async with serving(status(500)) as script:
        client = llm(session, script.url, time)
        for _ in range(3):
            assert not client.open
            with pytest.raises(Failure):
                await client.ask(MESSAGES, {})
        assert client.open
        with pytest.raises(Temporary, match="left alone"):
            await client.ask(MESSAGES, {})
        assert (client.counts.calls, client.counts.refused) == (3, 1)
        time.at += 61.0
        with pytest.raises(Failure):
            await client.ask(MESSAGES, {})
        time.at += 61.0
        assert client.open
        time.at += 60.0
        script.answers = ["well again"]
        await client.ask(MESSAGES, {})
        script.answers = [status(500)]
        with pytest.raises(Failure):
            await client.ask(MESSAGES, {})
        assert not client.open


async def test_the_day_has_so_many_tokens(session: ClientSession) -> None:
    time = Time()
    async with serving("x") as script:
        client = llm(session, script.url, time, tokens_per_day=1500, max_tokens=500)
        await client.ask(MESSAGES, {})
        with pytest.raises(Temporary, match="tokens"):
            await client.ask(MESSAGES, {})
        time.at += 86_400.0
        await client.ask(MESSAGES, {})
    assert client.counts.tokens_in == 1800


async def test_the_day_costs_no_more_than_was_allowed(session: ClientSession) -> None:
    async with serving("x") as script:
        client = llm(session, script.url, cost_per_day=0.01, price_in=5.0, price_out=15.0, max_tokens=400)
        await client.ask(MESSAGES, {})
        assert client.counts.cost == pytest.approx((900 * 5.0 + 120 * 15.0) / 1e6)
        with pytest.raises(Temporary, match="money"):
            await client.ask(MESSAGES, {})
    assert len(script.asked) == 1


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": -5, "completion_tokens": "many"}, {"prompt_tokens": True}])
async def test_usage_that_is_no_number_is_estimated(session: ClientSession, usage: dict[str, object]) -> None:
    async with serving(lambda request: completion("x" * 100, **usage)) as script:
        reply = await llm(session, script.url).ask(MESSAGES, {})
    assert reply.tokens_in > 10
    assert reply.tokens_out == 51


async def test_the_key_comes_from_a_file_and_is_in_no_message(session: ClientSession, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-canary-0123456789\n")
    client = {"authorization": {"credentials_file": str(key)}}
    async with serving(status(401)) as script:
        with pytest.raises(Permanent) as caught:
            await llm(session, script.url, client=client).ask(MESSAGES, {})
    assert script.keys == ["Bearer sk-canary-0123456789"]
    assert "canary" not in str(caught.value)


def test_off_without_a_url_and_checked_with_one() -> None:
    assert LlmSettings().url == ""
    for bad in ("llm:8000", "ftp://llm/v1", "http://user:pass@llm/v1", "http://llm/v1?key=1"):
        with pytest.raises(ValidationError, match="URL"):
            LlmSettings(url=bad, model="m")
    with pytest.raises(ValidationError, match="model is missing"):
        LlmSettings(url="http://llm/v1")
