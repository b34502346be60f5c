"""True sentences about a case: the narrator's own in both languages, and ways in which people and models say the same."""

from collections.abc import Iterator

from aiops.explain.grounding import Claim
from aiops.explain.known import Known
from aiops.explain.narrator import Narrator, called
from aiops.explain.quantities import worded
from aiops.explain.words import Language
from tests.explain.cases import CAUSES, Case, words

_FACT_FORMS = (
    "{signal} of {entity} {rose} to {value}, while {expected} was expected.",
    "{signal} on {entity} was {value} instead of {expected}.",
    "At {entity}, {signal} reached {value} ({expected} expected).",
    "{signal} of {entity} {rose} from {expected} to {value} [{id}].",
    "Evidence {id} shows that {signal} of {entity} was {value}.",
    "Users wait because of it: {signal} is {value}, normally {expected}." "",
    "{entity} 的{zh}{up}到 {value}，通常为 {expected}。",
    "{zh}为 {value}，预期为 {expected}。",
)


def known(one: Case) -> Known:
    return Known(one.incident, one.alerts, one.diagnosis, words())


def told(one: Case, language: Language) -> list[Claim]:
    """The narrator's sentences."""
    summary = Narrator(words(), language).tell(one.incident, one.alerts, one.diagnosis)
    return [Claim(sentence.text, sentence.evidence) for sentence in summary.sentences]


def rephrased(one: Case) -> Iterator[Claim]:
    """The same facts in other words."""
    for fact in one.diagnosis.evidence:
        if fact.series is None:
            continue
        higher = fact.value > fact.expected
        values = {
            "signal": words().signal(fact.series.signal, fact.series.stat, Language.EN),
            "zh": words().signal(fact.series.signal, fact.series.stat, Language.ZH),
            "entity": called(fact.series.entity),
            "value": worded(fact.value, fact.unit),
            "expected": worded(fact.expected, fact.unit),
            "rose": "rose" if higher else "fell",
            "up": "上升" if higher else "下降",
            "id": fact.id,
        }
        for form in _FACT_FORMS:
            if "because" not in form:
                yield Claim(form.format(**values), (fact.id,))
    first, *others = one.diagnosis.causes
    yield Claim(f"The most likely cause is: {CAUSES[first.id][0]}.", first.evidence)
    yield Claim(f"It is caused by {first.id} at {called(first.entity)}.", first.evidence)
    yield Claim(f"最可能的原因是 {CAUSES[first.id][0]}。", first.evidence)
    for other in others:
        yield Claim(f"Less likely is {CAUSES[other.id][0]}.", other.evidence)
    for out in one.diagnosis.ruled_out:
        yield Claim(f"{CAUSES[out.cause][0]}: this was ruled out.", out.evidence)
    start = one.incident.started_at
    yield Claim(f"The incident started at {clock(start)} UTC and is ongoing.")
    for mark in one.diagnosis.changes:
        yield Claim(f"{called(mark.entity)} was deployed at {clock(mark.at)}, 4 minutes before it.")


def clock(at: float) -> str:
    return f"{int(at) // 3600 % 24:02d}:{int(at) // 60 % 60:02d}"
