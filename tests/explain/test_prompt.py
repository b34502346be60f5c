"""What a language model writes is read as text that can be kept and shown, or refused by name."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aiops.explain.disguise import Disguise
from aiops.explain.prompt import BadAnswer, draft_of
from tests.conftest import effort
from tests.explain.cases import case
from tests.explain.truths import known

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just("\ud83d"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
SENTENCE = st.fixed_dictionaries({"text": ANYTHING, "evidence": ANYTHING})
KNOWN = known(case(1))


@effort(150)
@given(
    st.fixed_dictionaries(
        {}, optional={
            "sentences": st.lists(SENTENCE | ANYTHING, max_size=4),
            "causes": ANYTHING, "actions": ANYTHING,
        },
    )
)  # fmt: skip
def test_an_answer_is_a_draft_that_can_be_written_down_or_bad(answer: Any) -> None:
    text = f"<think>x</think> {json.dumps(answer)}"
    try:
        draft = draft_of(text, KNOWN, Disguise())
    except BadAnswer as error:
        assert str(error)  # noqa: PT017 - the named error is one of the two good ends
        return
    given_texts = [one for one in answer["sentences"] if isinstance(one, dict) and isinstance(one.get("text"), str)]
    assert len(draft.claims) == len(given_texts)
    for claim in draft.claims:
        claim.text.encode()
