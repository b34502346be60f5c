"""True sentences about a case: the narrator's own in both languages, and ways in which others say the same."""

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
    "{entity} 的{zh}{up}到 {value}，通常为 {expected}。",
    "{zh}为 {value}，预期为 {expected}。",
    "The {signal} on {entity} stood at {value}, compared with a usual {expected}.",
    "We see {value} for {signal} at {entity}; the baseline is {expected}.",
    "{entity} shows {signal} of {value} against {expected} normally [{id}].",
    "Measured {signal}: {value}. Expected: {expected}.",
    "It is likely that users noticed it: the {signal} was at about {value}.",
    "During the incident the {signal} was {way} than expected, {value}.",
    "数据显示，{entity} 的{zh}达到 {value}，而预期为 {expected}。",
    "{zh}{up}，当前为 {value} [{id}]。",
    "Around that moment, {entity} had {signal} at {value}; {expected} would be normal.",
    "{signal} ({entity}) went {went} {value} although {expected} was expected [{id}].",
    "What users experience is degraded: {signal} peaked at {value}.",
    "Compared to the baseline of {expected}, the {signal} is now {value} on {entity}.",
    "Our measurements for {entity} suggest an anomaly, since {signal} is at {value} (usually {expected}).",
    "The engine reported {signal} of {value}, whereas the reference is {expected} [{id}].",
    "{entity} 的{zh}异常：当前 {value}，基线 {expected}。",
    "证据 {id} 表明{zh}{up}至 {value}。",
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
            "way": "higher" if higher else "lower",
            "went": "up to" if higher else "down to",
            "id": fact.id,
        }
        for form in _FACT_FORMS:
            yield Claim(form.format(**values), (fact.id,))
        if fact.expected and fact.value / fact.expected > 1.5:
            times = fact.value / fact.expected
            yield Claim(f"{values['signal']} is {times:.1f} times the expected value.", (fact.id,))
    first, *others = one.diagnosis.causes
    yield Claim(f"The most likely cause is: {CAUSES[first.id][0]}.", first.evidence)
    yield Claim(f"It is caused by {first.id} at {called(first.entity)}.", first.evidence)
    yield Claim(f"最可能的原因是 {CAUSES[first.id][0]}。", first.evidence)
    yield Claim(f"Root cause: {CAUSES[first.id][0]} ({called(first.entity)}).", first.evidence)
    yield Claim(
        f"It is explained by {first.id}, with a confidence of {worded(first.confidence, 'ratio')}.", first.evidence
    )
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
