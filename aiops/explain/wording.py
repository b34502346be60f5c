"""One incident worded by a language model: asked, read, checked, and marked as what it is."""

import hashlib
import json
from dataclasses import dataclass

from aiops.explain.disguise import Disguise
from aiops.explain.grounding import Checker, Claim, Dropped
from aiops.explain.known import Known
from aiops.explain.llm import Llm
from aiops.explain.prompt import BadAnswer, Draft, Prompt, draft_of, prompt_of
from aiops.explain.words import Language
from aiops.kit.retry import Permanent

_FEWEST_SENTENCES = 2


@dataclass(frozen=True, slots=True)
class Worded:
    """What a language model says of an incident, as far as it was found true. It decides nothing.

    Attributes
    ----------
    sentences
        Checked ones, in the model's order; none when too little was left, and then the summary by templates is all.
    causes
        The model's order of the causes where it is not the ranking's; empty when it agrees. The ranking stays.
    actions
        What it chose from the closed list; for people, never executed.
    dropped
        Sentences that could not be shown to be true, with the reason.
    refused
        Ids and items of the answer that were not offered.
    prompt
        First 16 hex digits of the SHA-256 of what was sent.
    warning
        Why its word should be taken with care; empty when nothing is known against it.
    """

    incident: str
    at: float
    model: str
    language: Language
    sentences: tuple[Claim, ...]
    causes: tuple[str, ...]
    actions: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    refused: int
    prompt: str
    tokens_in: int
    tokens_out: int
    cost: float
    warning: str = ""


async def word(known: Known, llm: Llm, *, model: str, language: Language, at: float, warning: str = "") -> Worded:
    """Ask about one incident and check the answer.

    Raises
    ------
    kit.retry.Failure
        When there is no answer in the form that was asked for.
    """
    disguise = Disguise(known.entities)
    prompt = prompt_of(known, disguise, language)
    reply = await llm.ask(prompt.messages, prompt.schema)
    try:
        draft = draft_of(reply.text, known, disguise)
    except BadAnswer as error:
        raise Permanent(str(error)) from None
    sentences, dropped = checked(draft, known)
    return Worded(
        incident=known.incident.id,
        at=at,
        model=model,
        language=language,
        sentences=sentences,
        causes=draft.causes if draft.causes != tuple(known.ranked)[: len(draft.causes)] else (),
        actions=draft.actions,
        dropped=dropped,
        refused=draft.refused,
        prompt=digest(prompt),
        tokens_in=reply.tokens_in,
        tokens_out=reply.tokens_out,
        cost=reply.cost,
        warning=warning,
    )


def checked(draft: Draft, known: Known) -> tuple[tuple[Claim, ...], tuple[Dropped, ...]]:
    """What may be published of a draft: nothing when fewer than two sentences are left, or none names the cause."""
    found = Checker(known).check(draft.claims)
    cause = known.diagnosis.cause
    names = {cause.id, *(title for title, named in known.titles.items() if named == cause.id)} if cause else set()
    named = not names or any(name in claim.text.lower() for claim in found.kept for name in names)
    enough = len(found.kept) >= _FEWEST_SENTENCES and named
    return (found.kept if enough else ()), found.dropped


def digest(prompt: Prompt) -> str:
    """A short name of what was sent."""
    text = json.dumps([list(prompt.messages), prompt.schema], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
