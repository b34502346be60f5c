"""The life of every alert: inactive → pending → firing → resolving → resolved → forgotten.

A rule's :class:`~aiops.detect.base.Timing` asks for K breaches among the last N points to fire and M clear points
among the last N to resolve. Points, not seconds, move an alert; an unknown point moves nothing. Only two waits
are in seconds (how long a resolved alert is kept, how long nothing may be heard), and no step adds more to them
than ``longest_step``. So neither a jump of the wall clock nor a gap can fire or resolve anything by itself, and
all state is in the :class:`~aiops.incidents.alert.Alert` records: put back, they go on as if nothing had happened.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from aiops.detect.base import AlertKey, Timing, Verdict, Verdicts
from aiops.incidents.alert import Alert, AlertState, Incident, Reason, ReasonKind, Transition
from aiops.incidents.settings import IncidentSettings

_HISTORY_POINTS = 64
_ALL_HISTORY = (1 << _HISTORY_POINTS) - 1


class Machine:
    """Keeps every alert that is not inactive, and moves it one point a step.

    Parameters
    ----------
    timing
        Timing of a rule, for every rule that may come, also one that was restored and is no longer configured.
    settings
        The waits.
    """

    def __init__(self, timing: Callable[[str], Timing], settings: IncidentSettings) -> None:
        self._timing = timing
        self._settings = settings
        self._alerts: dict[AlertKey, Alert] = {}
        self._last_step_at: float | None = None

    @property
    def alerts(self) -> Mapping[AlertKey, Alert]:
        """Every alert that is not inactive, as of the last step; a live view."""
        return MappingProxyType(self._alerts)

    def watched(self) -> frozenset[AlertKey]:
        """Alerts of which the bank must say when they are unknown: what it does not name counts as fine."""
        return frozenset(self._alerts)

    def restore(self, alerts: Iterable[Alert], at: float | None = None) -> None:
        """Go on from kept alerts. ``at`` is when their last step was (UTC seconds); without it no wait grows
        in the first step."""
        self._alerts = {alert.key: alert for alert in alerts if alert.state is not AlertState.INACTIVE}
        self._last_step_at = at

    def assign(self, incidents: Iterable[Incident]) -> None:
        """Write into the members of open incidents where they belong."""
        for incident in incidents:
            for key in incident.members if incident.open else ():
                alert = self._alerts.get(key)
                if alert is not None and alert.incident != incident.id:
                    self._alerts[key] = replace(alert, incident=incident.id)

    def step(self, now: float, verdicts: Verdicts) -> list[Transition]:
        """Take in the judgements of one tick.

        Parameters
        ----------
        now
            UTC seconds, for stamps and for the two waits.
        verdicts
            An alert in both ``breaches`` and ``unknown`` is a breach.

        Returns
        -------
        list[Transition]
            What moved, sorted by rule and series, so that equal input gives equal output.
        """
        waited = self._waited(now)
        transitions = []
        for key, alert in {**dict.fromkeys(verdicts.breaches), **self._alerts}.items():
            moved, reason = self._moved(key, alert, verdicts, now, waited)
            if moved.state is AlertState.INACTIVE:
                self._alerts.pop(key, None)
            else:
                self._alerts[key] = moved
            if reason is not None:
                before = AlertState.INACTIVE if alert is None else alert.state
                transitions.append(Transition(now, before, moved, reason))
        return sorted(transitions, key=lambda transition: order(transition.alert.key))

    def _waited(self, now: float) -> float:
        """Seconds since the last step, as far as they can be believed."""
        last, self._last_step_at = self._last_step_at, now
        return 0.0 if last is None else min(max(now - last, 0.0), self._settings.longest_step)

    def _moved(
        self, key: AlertKey, alert: Alert | None, verdicts: Verdicts, now: float, waited: float
    ) -> tuple[Alert, Reason | None]:
        verdict = verdicts.breaches.get(key)
        if alert is None:
            return self._first_breach(key, verdicts.breaches[key], now)
        if verdict is not None:
            return self._breach(alert, verdict, now)
        if key in verdicts.held and alert.active:
            return replace(alert, updated_at=now, waited_seconds=0.0), None
        if key in verdicts.unknown or alert.state is AlertState.RESOLVED:
            return self._wait(alert, now, waited)
        return self._clear(alert, now)

    def _first_breach(self, key: AlertKey, verdict: Verdict, now: float) -> tuple[Alert, Reason | None]:
        alert = Alert(key, AlertState.PENDING, now, now, verdict, history=1, judged=1, peak_score=verdict.raw_score)
        return self._fire_or_wait(alert, Reason(ReasonKind.BREACH_SEEN, self._breaches_in(alert)[1]), now)

    def _breach(self, alert: Alert, verdict: Verdict, now: float) -> tuple[Alert, Reason | None]:
        if alert.state is AlertState.RESOLVED:
            # ended_at stays until it fires: should it not, it is a resolved alert again.
            moved, reason = self._first_breach(alert.key, verdict, now)
            ended_at = 0.0 if moved.active else alert.ended_at
            return replace(moved, incident=alert.incident, ended_at=ended_at), reason
        if alert.active:
            # Severity is a label, hence identity: if it changed, receivers would see another alert.
            verdict = replace(verdict, severity=alert.severity)
            reason = Reason(ReasonKind.BREACH_AGAIN, "out of bounds again before there were enough clear points")
            again = alert.state is AlertState.RESOLVING
            moved = replace(_breached(alert, verdict, now), state=AlertState.FIRING)
            return moved, reason if again else None
        return self._fire_or_wait(_breached(alert, verdict, now), None, now)

    def _fire_or_wait(self, alert: Alert, otherwise: Reason | None, now: float) -> tuple[Alert, Reason | None]:
        """Decide about a pending alert whose newest point is a breach."""
        breaches, text = self._breaches_in(alert)
        if breaches >= self._timing(alert.key.rule).breach_points:
            # History starts anew: the points before must not count as clear ones.
            fired = replace(alert, state=AlertState.FIRING, history=0, judged=0, ended_at=0.0)
            return fired, Reason(ReasonKind.ENOUGH_BREACHES, text)
        # The only breach in the window begins a new run: a rare outlier must not date the next fault back.
        return (replace(alert, started_at=now) if breaches == 1 else alert), otherwise

    def _clear(self, alert: Alert, now: float) -> tuple[Alert, Reason | None]:
        """A point within bounds, of an alert that is pending or active."""
        moved = _judged(alert, 0, now)
        if alert.state is AlertState.PENDING:
            breaches, text = self._breaches_in(moved)
            return (moved, None) if breaches else self._calm(moved, Reason(ReasonKind.NOT_ENOUGH_BREACHES, text), now)
        timing = self._timing(alert.key.rule)
        points = min(moved.judged, timing.clear_window)
        clears = points - (moved.history & _newest(points)).bit_count()
        text = _count(clears, points, "within bounds", timing.clear_points)
        if clears >= timing.clear_points:
            return _resolved(moved, now), Reason(ReasonKind.ENOUGH_CLEARS, text)
        first = alert.state is AlertState.FIRING
        return replace(moved, state=AlertState.RESOLVING), Reason(ReasonKind.CLEAR_SEEN, text) if first else None

    def _wait(self, alert: Alert, now: float, waited: float) -> tuple[Alert, Reason | None]:
        """A point of which nothing is known, or any quiet point of a resolved alert."""
        seconds = alert.waited_seconds + waited
        moved = replace(alert, waited_seconds=seconds)
        if alert.state is AlertState.RESOLVED:
            if seconds < self._settings.retention:
                return moved, None
            text = f"resolved {seconds:.0f} s ago (kept for {self._settings.retention:.0f} s)"
            return replace(moved, state=AlertState.INACTIVE), Reason(ReasonKind.RETENTION_OVER, text)
        if seconds < self._settings.gone_after:
            return moved, None
        text = f"nothing was heard of the series for {seconds:.0f} s (at most {self._settings.gone_after:.0f} s)"
        gone = Reason(ReasonKind.SERIES_GONE, text)
        return (_resolved(moved, now), gone) if alert.active else self._calm(moved, gone, now)

    def _calm(self, alert: Alert, reason: Reason, now: float) -> tuple[Alert, Reason]:
        """A pending alert goes back to where it came from: never fired, or resolved a while ago."""
        if not alert.ended_at:
            return replace(alert, state=AlertState.INACTIVE), reason
        ago = min(max(now - alert.ended_at, 0.0), self._settings.retention)
        return replace(alert, state=AlertState.RESOLVED, history=0, judged=0, waited_seconds=ago), reason

    def _breaches_in(self, alert: Alert) -> tuple[int, str]:
        timing = self._timing(alert.key.rule)
        breaches = (alert.history & _newest(timing.window_points)).bit_count()
        # Before its first breach a series was fine, so the window is always full.
        return breaches, _count(breaches, timing.window_points, "out of bounds", timing.breach_points)


def order(key: AlertKey) -> tuple[str, str]:
    """Sorting key of alerts; the records themselves have no order."""
    return key.rule, str(key.series)


def _count(points: int, window: int, what: str, needed: int) -> str:
    seen = f"{points} of the last {window} points were"
    if window == 1:
        seen = "the last point was" if points else "the last point was not"
    return f"{seen} {what} (needs {needed})"


def _newest(points: int) -> int:
    """Mask of the newest ``points`` bits."""
    return (1 << points) - 1


def _judged(alert: Alert, breach: int, now: float) -> Alert:
    history = (alert.history << 1 | breach) & _ALL_HISTORY
    judged = min(alert.judged + 1, _HISTORY_POINTS)
    return replace(alert, history=history, judged=judged, updated_at=now, waited_seconds=0.0)


def _breached(alert: Alert, verdict: Verdict, now: float) -> Alert:
    peak = max(alert.peak_score, verdict.raw_score)
    return replace(_judged(alert, 1, now), verdict=verdict, peak_score=peak)


def _resolved(alert: Alert, now: float) -> Alert:
    return replace(alert, state=AlertState.RESOLVED, ended_at=now, history=0, judged=0, waited_seconds=0.0)
