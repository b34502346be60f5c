"""Records to write."""

from hypothesis import strategies as st

from aiops.detect.base import AlertKey, Severity, Verdict
from aiops.incidents.alert import Alert, AlertState, Incident, Reason, ReasonKind, Transition
from aiops.signals.types import Entity, EntityKind, Mark, MarkKind, SeriesKey


def series(name: str = "0") -> SeriesKey:
    return SeriesKey(Entity.of(EntityKind.REPLICA, replica=name), "ttft", "p95")


def alert(name: str = "0", state: AlertState = AlertState.FIRING, at: float = 100.0, **changes: object) -> Alert:
    verdict = Verdict("TtftHigh", Severity.WARNING, 1.5, 2.0, "slow", "2 s", 1.0, 0.5, 1.8, {"zscore": 1.5})
    return Alert(AlertKey("TtftHigh", series(name)), state, at, at, verdict).moved(**changes)


def transition(name: str = "0", state: AlertState = AlertState.FIRING, at: float = 100.0) -> Transition:
    return Transition(at, AlertState.PENDING, alert(name, state, at), Reason(ReasonKind.ENOUGH_BREACHES, "3 of 4"))


def incident(name: str = "i1", started_at: float = 100.0, ended_at: float = 0.0) -> Incident:
    return Incident(name, "slow", Severity.WARNING, started_at, started_at, ended_at, (alert().key,))


def mark(number: float) -> Mark:
    return Mark(MarkKind.XID, Entity.of(EntityKind.GPU, gpu="0"), number, f"number {number:.0f}")


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
floats = st.floats()
times = st.floats(0, 4e9)
entities = st.builds(
    Entity, st.sampled_from(EntityKind), st.dictionaries(text, text, max_size=3).map(lambda d: tuple(sorted(d.items())))
)
keys = st.builds(AlertKey, text, st.builds(SeriesKey, entities, text, text))
verdicts = st.builds(
    Verdict,
    rule=text,
    severity=st.sampled_from(Severity),
    score=floats,
    value=floats,
    summary=text,
    reason=text,
    expected=floats,
    lower=floats,
    upper=floats,
    votes=st.dictionaries(text, floats, max_size=3),
)
alerts = st.builds(
    Alert,
    key=keys,
    state=st.sampled_from([state for state in AlertState if state != AlertState.INACTIVE]),
    started_at=times,
    updated_at=times,
    verdict=verdicts,
    ended_at=times,
    history=st.integers(0, 2**64 - 1),
    judged=st.integers(0, 64),
    incident=text,
    waited_seconds=times,
)
transitions = st.builds(
    Transition,
    at=times,
    before=st.sampled_from(AlertState),
    alert=alerts,
    reason=st.builds(Reason, st.sampled_from(ReasonKind), text),
)
incidents = st.builds(
    Incident,
    id=text,
    title=text,
    severity=st.sampled_from(Severity),
    started_at=times,
    updated_at=times,
    ended_at=st.just(0.0),
    members=st.lists(keys, max_size=3).map(tuple),
)
marks = st.builds(Mark, kind=st.sampled_from(MarkKind), entity=entities, at=times, detail=text)
