"""A real LLM server with a model of random weights words incidents: whatever it babbles, what comes out is true."""

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from aiops.explain.grounding import Checker
from aiops.explain.llm import Llm
from aiops.explain.narrator import Narrator, Part
from aiops.explain.settings import LlmSettings
from aiops.explain.wording import word
from aiops.explain.words import Language
from aiops.kit.http import HttpClient, open_session
from aiops.kit.retry import Failure
from tests.explain.cases import case, words
from tests.explain.truths import known
from tests.real.conftest import LLAMA, Program, get_json, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
ROUNDS = 5


@pytest_asyncio.fixture
async def model(tmp_path: Path, free_port: Callable[[], int]) -> AsyncIterator[Llm]:
    """A client of a server with room for a prompt in which every byte is a token."""
    sys.path.insert(0, str(LLAMA.parent))
    from llama_server import write_model

    file, port = tmp_path / "random.gguf", free_port()
    write_model(file, context=16_384)
    program = Program(sys.executable, str(LLAMA), str(file), str(port), "1", "16384", log=tmp_path / "llm.log")
    await program.start()
    await until(lambda: get_json(f"http://127.0.0.1:{port}/health"), 30, "the LLM server")
    session = open_session(keep_alive_seconds=0.0)  # llama.cpp closes kept connections without a word
    body = {"temperature": 1.0, "max_tokens": 5000, "seed": 7}
    limits = {"timeout": 60, "deadline": 120, "attempts": 3}
    settings = LlmSettings.model_validate(
        {"url": f"http://127.0.0.1:{port}/v1", "model": "random", "body": body} | limits
    )
    yield Llm(settings, HttpClient(settings.client, session))
    await session.close()
    await program.end()


async def test_a_random_model_publishes_nothing_untrue(model: Llm) -> None:
    formed = 0
    for seed in range(ROUNDS):
        one = case(seed)
        about, before = known(one), repr(one)
        try:
            said = await word(about, model, model="random", language=Language.EN, at=1.0)
        except Failure:
            said = None  # cut off, or bytes that are no text: the server itself refuses some
        summary = Narrator(words()).tell(one.incident, one.alerts, one.diagnosis)
        assert {sentence.part for sentence in summary.sentences} == set(Part)
        assert repr(one) == before
        if said is not None:
            formed += 1
            assert all(not Checker(about).problem(claim) for claim in said.sentences)
            assert set(said.actions) <= {"drain-node", "add-replicas"}
            assert len(said.sentences) + len(said.dropped) >= 1
    assert formed >= 1, "no answer had the form of the schema"
    assert model.counts.tokens_out > 0
