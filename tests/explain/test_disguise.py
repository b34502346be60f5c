"""No name leaves, every name comes back, and credentials do neither."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiops.explain.disguise import Disguise
from aiops.explain.prompt import prompt_of
from aiops.explain.words import Language
from aiops.signals.types import Entity, EntityKind
from tests.explain.cases import case
from tests.explain.truths import known

CANARIES = [
    "10.20.30.40",
    "10.20.30.40:8000",
    "[2001:db8::7]:9100",
    "2001:db8:1:2:3:4:5:6",
    "gpu-host-17.corp.example.com",
    "gpu-host-17:9100",
    "alice.smith@example.com",
    "GPU-0c1b6a5e-92aa-4d1c-8f0e-7a4b1c2d3e4f",
    "deadbeefdeadbeefdeadbeef",
    "/home/alice/models/secret-model",
]
CREDENTIALS = [
    "sk-abcdefghijklmnop1234",
    "ghp_abcdefghijklmnop1234",
    "eyJhbGciOiJI.eyJzdWIiOiIx.abc",
    "password=hunter2hunter2",
    "api_key: 0123456789abcdef",
    "AKIAIOSFODNN7EXAMPLE",
    "https://bob:hunter2hunter2@example.com/x",
]


@pytest.mark.parametrize("canary", CANARIES)
def test_a_name_leaves_disguised_and_comes_back(canary: str) -> None:
    disguise = Disguise()
    text = f"The connection to {canary} failed, {canary} again."
    hidden = disguise.hide(text)
    assert canary not in hidden
    assert disguise.reveal(hidden) == text
    assert disguise.hide(text) == hidden


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_a_credential_leaves_never(credential: str) -> None:
    disguise = Disguise()
    hidden = disguise.hide(f"log: {credential} used")
    assert "<secret>" in hidden
    assert "hunter2" not in hidden
    assert credential not in hidden
    assert credential not in disguise.reveal(hidden)


def test_names_of_entities_are_pseudonyms() -> None:
    one = Entity.of(EntityKind.REPLICA, pool="billing", instance="llm-a:8000", model_name="acme/tiny-70b")
    disguise = Disguise([one])
    hidden = disguise.hide('{"entity": "replica llm-a:8000 acme/tiny-70b billing"}')
    assert json.loads(hidden) == {"entity": "replica replica-x1 model-x1 pool-x1"}
    assert disguise.reveal("pool-x1, pool-x2 and model-x1") == "billing, pool-x2 and acme/tiny-70b"


def test_no_canary_is_in_a_prompt() -> None:
    for seed in range(10):
        about = known(case(seed))
        prompt = prompt_of(about, Disguise(about.entities), Language.EN)
        sent = json.dumps([list(prompt.messages), prompt.schema])
        names = {
            v for e in about.entities for label, v in e.labels if label in ("instance", "pool", "node", "model_name")
        }
        assert len(names) > 5
        assert not [name for name in names if name in sent]
        assert len(sent) < 12_000


@given(st.text(max_size=200))
def test_revealing_undoes_hiding(text: str) -> None:
    disguise = Disguise([Entity.of(EntityKind.POOL, pool="billing", job="llm")])
    hidden = disguise.hide(text)
    if "<secret>" not in hidden and not set(disguise._real) & set(text.split()):
        assert disguise.reveal(hidden) == text or any(alias in text for alias in disguise._real)
