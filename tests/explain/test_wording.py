"""A language model that lies, obeys strangers, babbles or hangs: only true sentences are published."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from aiops.explain.grounding import Claim
from aiops.explain.known import Known
from aiops.explain.llm import Llm
from aiops.explain.settings import LlmSettings
from aiops.explain.wording import Worded, word
from aiops.explain.words import Language
from aiops.kit.http import HttpClient, open_session
from aiops.kit.retry import Failure
from tests.explain.cases import CAUSES, case
from tests.explain.llm_server import drip, hang, serving, status
from tests.explain.mutations import BUILDING
from tests.explain.truths import known, told

ONE = case(23)
KNOWN = known(ONE)
TRUE = [claim for claim in told(ONE, Language.EN) if claim.evidence][:6]


@pytest_asyncio.fixture
async def session() -> AsyncIterator[ClientSession]:
    session = open_session()
    yield session
    await session.close()


def answer(claims: Sequence[Claim], **more: object) -> str:
    record = {
        "causes": [cause.id for cause in ONE.diagnosis.causes],
        "actions": ["drain-node"],
        "sentences": [{"text": claim.text, "evidence": list(claim.evidence)} for claim in claims],
    }
    return json.dumps(record | more)


def settings(url: str, **more: object) -> LlmSettings:
    return LlmSettings.model_validate({"url": url, "model": "m", "timeout": 0.5, "deadline": 1.0, "attempts": 1} | more)


async def ask(session: ClientSession, url: str, about: Known = KNOWN, **more: object) -> Worded:
    chosen = settings(url, **more)
    llm = Llm(chosen, HttpClient(chosen.client, session), rng=random.Random(1))
    return await word(about, llm, model="m", language=Language.EN, at=1.0)


async def test_true_sentences_are_published(session: ClientSession) -> None:
    async with serving(answer(TRUE)) as script:
        worded = await ask(session, script.url)
    assert worded.sentences == tuple(TRUE)
    assert (worded.causes, worded.actions, worded.dropped, worded.refused) == ((), ("drain-node",), (), 0)
    assert (worded.tokens_in, worded.tokens_out) == (900, 120)


def lies() -> dict[str, Claim]:
    rng = random.Random(5)
    found = {}
    for name, mutate in BUILDING.items():
        false = next((f for claim in told(ONE, Language.EN) if (f := mutate(claim, ONE, rng)) and f != claim), None)
        assert false is not None, name
        found[name] = false
    return found


@pytest.mark.parametrize("name", BUILDING)
async def test_a_lie_among_true_sentences_is_dropped_and_counted(session: ClientSession, name: str) -> None:
    lie = lies()[name]
    async with serving(answer([*TRUE, lie])) as script:
        worded = await ask(session, script.url)
    assert worded.sentences == tuple(TRUE)
    assert len(worded.dropped) == 1
    assert worded.dropped[0].reason


async def test_when_too_little_is_left_nothing_is_published(session: ClientSession) -> None:
    async with serving(answer([TRUE[0], *lies().values()][:8])) as script:
        worded = await ask(session, script.url)
    assert worded.sentences == ()
    assert len(worded.dropped) == 7


async def test_another_order_of_causes_is_a_dispute_and_no_ranking(session: ClientSession) -> None:
    first, second = ONE.diagnosis.causes
    swapped = [*TRUE, Claim(f"Most likely cause: {CAUSES[second.id][0]}.", second.evidence)]
    async with serving(answer(swapped, causes=[second.id, first.id])) as script:
        worded = await ask(session, script.url)
    assert worded.causes == (second.id, first.id)
    assert worded.sentences == tuple(TRUE)
    assert list(KNOWN.ranked) == [first.id, second.id]


async def test_what_was_not_offered_cannot_be_chosen(session: ClientSession) -> None:
    more = {"causes": ["alien-attack", 7, None], "actions": ["rm -rf /", "drain-node"]}
    bad = answer([*TRUE, Claim("The cause is alien-attack.", ("E1", "E99"))], **more)
    async with serving(bad) as script:
        worded = await ask(session, script.url)
    assert worded.actions == ("drain-node",)
    assert worded.refused == 5


@pytest.mark.parametrize(
    "behaviour",
    [
        "no json at all",
        answer(TRUE)[:-40],
        "[]",
        '{"sentences": "x"}',
        '{"sentences": [{"text": "x", "evidence": []}], "confidence": Infinity}',
        '{"sentences": [{"text": "x", "evidence": []}], "confidence": NaN}',
        "",
        "   ",
        "[" * 100_000,
        "x" * 1_000_000,
        status(429),
        status(500),
        status(404),
        hang,
        drip,
    ],
    ids="babble cut list text inf nan empty blank deep 1MB 429 500 404 hang drip".split(),  # noqa: SIM905
)  # fmt: skip
async def test_no_usable_answer_is_a_failure_in_time(session: ClientSession, behaviour: object) -> None:
    async with serving(behaviour) as script:
        async with asyncio.timeout(20):
            with pytest.raises(Failure) as caught:
                await ask(session, script.url)
    assert "go away" not in str(caught.value)


async def test_control_characters_and_odd_forms_do_no_harm(session: ClientSession) -> None:
    odd = [Claim(f"\x1b[31m{TRUE[0].text}\u202e", TRUE[0].evidence), Claim(TRUE[0].text + "\x07", TRUE[0].evidence)]
    text = "<think>Ignore all</think>```json\n" + answer([*odd, *TRUE[1:]], extra=[1]) + "\n```"
    async with serving(text.replace("\\u0007", "\x07")) as script:
        worded = await ask(session, script.url)
    assert worded.sentences[0] in (TRUE[0], TRUE[1])
    assert set(worded.sentences) <= set(TRUE)


async def test_the_schema_offers_what_there_is_and_nothing_else(session: ClientSession) -> None:
    async with serving(answer(TRUE)) as script:
        await ask(session, script.url)
    (asked,) = script.asked
    form = asked["response_format"]
    assert isinstance(form, dict)
    properties = form["json_schema"]["schema"]["properties"]
    assert properties["causes"]["items"]["enum"] == list(KNOWN.ranked)
    assert properties["actions"]["items"]["enum"] == ["drain-node", "add-replicas"]
    assert properties["sentences"]["items"]["properties"]["evidence"]["items"]["enum"] == list(KNOWN.facts)
    assert "tools" not in asked


async def test_fields_of_the_request_can_be_changed(session: ClientSession) -> None:
    async with serving(answer(TRUE)) as script:
        body = {"max_tokens": None, "max_completion_tokens": 50, "temperature": None}
        await ask(session, script.url, body=body, response_format="none")
    assert set(script.asked[0]) == {"model", "messages", "stream", "max_completion_tokens"}
