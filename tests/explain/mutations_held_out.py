"""Ways to make a true sentence false that were written after the claim checker, and other ways to say what is true.

They measure it; they are no place to look when it is changed. Whoever changes it because of one of these moves that one
to ``mutations.py`` and writes another here. ``docs/explanations.md`` lists what is missed.
"""

import random
import re
from collections.abc import Iterator

from aiops.explain.grounding import Claim
from aiops.explain.narrator import called
from aiops.explain.quantities import worded
from aiops.explain.words import Language
from tests.explain.cases import ACTIONS, CAUSES, Case, words
from tests.explain.mutations import Operator, number_of, replaced


def transposed(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    """4.27 becomes 4.72: two digits change places."""
    match = number_of(claim, rng)
    if match is None:
        return None
    digits = match.group()
    places = [k for k in range(len(digits) - 1) if digits[k].isdigit() and digits[k + 1].isdigit()]
    for k in places:
        new = digits[:k] + digits[k + 1] + digits[k] + digits[k + 2 :]
        if abs(float(new) - float(digits)) > 0.05 * float(digits):
            return replaced(claim, *match.span(), new)
    return None


def minus(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    match = number_of(claim, rng)
    return match and replaced(claim, *match.span(), f"-{match.group()}")


def exchanged(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    """What was measured and what was expected change places."""
    if len(claim.evidence) != 1:
        return None
    fact = next(fact for fact in one.diagnosis.evidence if fact.id == claim.evidence[0])
    value, expected = worded(fact.value, fact.unit), worded(fact.expected, fact.unit)
    if value == expected or value not in claim.text or expected not in claim.text:
        return None
    return Claim(claim.text.replace(value, "\x01").replace(expected, value).replace("\x01", expected), claim.evidence)


def sibling(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    """Another entity that exists, but of which this is not known."""
    if len(claim.evidence) != 1:
        return None
    mine = next(fact for fact in one.diagnosis.evidence if fact.id == claim.evidence[0])
    others = [f.series.entity for f in one.diagnosis.evidence if f.series and mine.series and f.id != mine.id
              and f.series.entity != mine.series.entity]  # fmt: skip
    name = called(mine.series.entity) if mine.series else ""
    if not others or not name or name not in claim.text:
        return None
    return Claim(claim.text.replace(name, called(rng.choice(others))), claim.evidence)


def other_quantile(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    for old, new in (("(p95)", "(p99)"), ("(p50)", "(p95)"), ("(mean)", "(p50)")):
        if old in claim.text:
            return Claim(claim.text.replace(old, new, 1), claim.evidence)
    return None


def another_day(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    match = re.search(r"(\d{4}-\d\d)-(\d\d)", claim.text)
    return match and replaced(claim, *match.span(), f"{match[1]}-{(int(match[2]) % 28) + 1:02d}")


def another_zone(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    return Claim(claim.text.replace("UTC", "CET", 1), claim.evidence) if "UTC" in claim.text else None


def milder(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    for old, new in (("Critical", "Warning"), ("严重", "提示")):
        if claim.text.startswith(old) or f"{old}级" in claim.text:
            return Claim(claim.text.replace(old, new, 1), claim.evidence)
    return None


def closed(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    for old, new in (("and goes on", "and is over"), ("is ongoing", "was resolved"), ("仍在持续", "已恢复")):
        if old in claim.text:
            return Claim(claim.text.replace(old, new, 1), claim.evidence)
    return None


def promoted(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    """The second cause as the first, or the other way round."""
    for old, new in (
        ("Also possible, but less likely", "Most likely cause"),
        ("Most likely cause", "Also possible, but less likely"),
        ("Less likely is", "The root cause is"),
        ("最可能的原因", "其次的原因"),
        ("也有可能，但可能性较低", "最可能的原因"),
    ):
        if old in claim.text:
            return Claim(claim.text.replace(old, new, 1), claim.evidence)
    return None


def acquitted(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    """What was ruled out as a cause, or a cause as ruled out."""
    for old, new in (
        ("Ruled out", "Most likely cause"),
        ("this was ruled out", "this is the cause"),
        ("Most likely cause", "Ruled out"),
        ("已排除", "最可能的原因"),
        ("最可能的原因", "已排除"),
    ):
        if old in claim.text:
            return Claim(claim.text.replace(old, new, 1), claim.evidence)
    return None


def generalised(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    for fact in one.diagnosis.evidence:
        name = called(fact.series.entity) if fact.series else ""
        if name and name in claim.text:
            return Claim(
                claim.text.replace(name, rng.choice(("all replicas", "every node", "所有副本"))), claim.evidence
            )
    return None


def tenfold(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    """A factor in words that is not the true one."""
    fact = next((f for f in one.diagnosis.evidence if f.id in claim.evidence and f.series), None)
    if fact is None or len(claim.evidence) != 1 or not fact.expected:
        return None
    factor = fact.value / fact.expected
    factors = {"tripled": 3.0, "doubled": 2.0, "halved": 0.5}
    wrong = [word for word, value in factors.items() if abs(value - factor) > 0.3 * factor]
    name = words().signal(fact.series.signal, "", Language.EN) if fact.series else ""
    return Claim(f"The {name} has {rng.choice(wrong)}.", claim.evidence)


def other_action(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    mine = {ACTIONS[action] for cause in one.diagnosis.causes for action in cause.actions}
    for old in mine:
        if old in claim.text and claim.text.startswith(("Action", "操作")):
            return Claim(
                claim.text.replace(old, rng.choice(("Restart all nodes", "Delete the model files", "Reset the GPU")))
            )
    return None


def other_change(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    for old, new in (("deploy, ", "restarted, "), ("was deployed", "was restarted"), ("deploy，", "restarted，")):
        if old in claim.text:
            return Claim(claim.text.replace(old, new, 1), claim.evidence)
    return None


def other_detail(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    return Claim(claim.text.replace("v1.4", "v1.3"), claim.evidence) if "v1.4" in claim.text else None


def surer(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    match = re.search(r"\d+(?= %)", claim.text) if "onfidence" in claim.text or "置信度" in claim.text else None
    return match and replaced(claim, *match.span(), f"{min(int(match.group()) + 7, 99)}")


def invented_evidence(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    match = re.search(r"\[E\d+\]", claim.text)
    return match and replaced(claim, *match.span(), "[E42]")


def merged(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    """Two facts as cause and effect, which nobody has shown."""
    facts = [fact for fact in one.diagnosis.evidence if fact.series]
    first, second = rng.sample(facts, 2)
    names = [words().signal(f.series.signal, f.series.stat, Language.EN) for f in (first, second) if f.series]
    return Claim(f"{names[0]} moved because of {names[1]}.", (first.id, second.id))


def rounded_up(claim: Claim, one: Case, rng: random.Random) -> Claim | None:
    """One unit more in the first digit."""
    match = number_of(claim, rng)
    if match is None or match.group()[0] in "09":
        return None
    return replaced(claim, *match.span(), str(int(match.group()[0]) + 1) + match.group()[1:])


HELD_OUT: dict[str, Operator] = {
    "digits change places": transposed,
    "sign": minus,
    "measured and expected change places": exchanged,
    "entity of another fact": sibling,
    "other quantile": other_quantile,
    "other day": another_day,
    "other time zone": another_zone,
    "other severity": milder,
    "open as over": closed,
    "rank of a cause": promoted,
    "cause and ruled out change places": acquitted,
    "one entity as all": generalised,
    "wrong factor in words": tenfold,
    "action that is not proposed": other_action,
    "other kind of change": other_change,
    "other detail of a change": other_detail,
    "other confidence": surer,
    "evidence that does not exist": invented_evidence,
    "two facts as cause and effect": merged,
    "first digit one up": rounded_up,
}

_FORMS = (
    "{signal} for {entity} is currently {value}, which is {way} than the reference of {expected}.",
    "Throughout the window {entity} kept {signal} near {value} [{id}].",
    "A clear sign is {signal}: {value} against an expected {expected}.",
    "{entity}: {signal} moved from {expected} to {value}.",
    "The data show {signal} at {value} for {entity}, and {expected} under normal load.",
    "Looking at {id}, the {signal} has become {value}.",
    "At {value}, {signal} deviates from its usual {expected}.",
    "For {entity} we measured {signal} = {value} (expected: {expected}).",
    "Notably, {signal} was {way}, reaching {value}.",
    "{signal} of {entity} turned out to be {value} rather than {expected}.",
    "According to {id} the {signal} was {value} at {entity}, where {expected} is usual.",
    "监测显示 {entity} 的{zh}为 {value}（正常值 {expected}）。",
    "此时{zh}已{up}到 {value}，平时约 {expected}。",
    "从 {id} 可以看到，{zh}达到了 {value}。",
)


def rephrased_held_out(one: Case) -> Iterator[Claim]:
    """True sentences in words that were not looked at while the checker was built."""
    for fact in one.diagnosis.evidence:
        if fact.series is None:
            continue
        up = fact.value > fact.expected
        values = {
            "signal": words().signal(fact.series.signal, fact.series.stat, Language.EN),
            "zh": words().signal(fact.series.signal, fact.series.stat, Language.ZH),
            "entity": called(fact.series.entity),
            "value": worded(fact.value, fact.unit),
            "expected": worded(fact.expected, fact.unit),
            "up": "升高" if up else "降低",
            "way": "higher" if up else "lower",
            "id": fact.id,
        }
        for form in _FORMS:
            yield Claim(form.format(**values), (fact.id,))
        factor = fact.value / fact.expected if fact.expected else 0.0
        if factor > 1.5:
            yield Claim(f"{values['signal']}: {factor:.2g}x the reference.", (fact.id,))
    first = one.diagnosis.causes[0]
    title = CAUSES[first.id][0]
    yield Claim(f"Everything measured fits: {title}."[len("Everything ") :].capitalize(), first.evidence)
    yield Claim(f"We conclude: {title}."[len("We conclude: ") :], first.evidence)
    yield Claim(f"The problem comes from {called(first.entity)}: {title}.", first.evidence)
    yield Claim(f"综合证据，原因指向：{title}。", first.evidence)
    for out in one.diagnosis.ruled_out:
        yield Claim(f"It is unlikely that this was the reason: {CAUSES[out.cause][0]}.", out.evidence)
