"""The life of every alert: inactive → pending → firing → resolving → resolved → forgotten.

A rule's :class:`~aiops.detect.base.Timing` asks for K breaches among the last N points to fire and M clear points
among the last N to resolve. Points, not seconds, move an alert; an unknown point moves nothing. Only waits are
in seconds (how long a resolved alert is kept, how long nothing may be heard, how long one that flaps must be calm),
and no step adds more to them than ``longest_step``. So neither a jump of the wall clock nor a gap can fire or resolve
anything by itself, and all state is in the :class:`~aiops.incidents.alert.Alert` records: put back, they go on as if
nothing had happened. Beside them stand the times of earlier firings, which only lower a severity.
"""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from aiops.detect.base import AlertKey, Severity, Timing, Verdict, Verdicts
from aiops.incidents.alert import Alert, AlertState, Incident, Reason, ReasonKind, Transition
from aiops.incidents.policy import Calendar
from aiops.incidents.settings import IncidentSettings
from aiops.kit.settings import format_duration

_HISTORY_POINTS = 64
_ALL_HISTORY = (1 << _HISTORY_POINTS) - 1
_MOST_REMEMBERED = 10_000
_WORSE = 2.0
_LOWER = {Severity.WARNING: Severity.INFO}


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
        self._fired_at: dict[AlertKey, tuple[float, ...]] = {}
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

    def remember(self, transitions: Iterable[Transition]) -> None:
        """Learn from kept transitions, in any order, what fired often."""
        for transition in sorted(transitions, key=lambda one: one.at):
            if transition.began:
                self._note(transition.alert.key, transition.at)

    def succeed(self, before: "Machine", at: float | None) -> None:
        """Go on where another machine stands, with other settings; ``at`` as for :meth:`restore`."""
        self.restore(before.alerts.values(), at)
        self._fired_at = dict(before._fired_at)  # noqa: SLF001 - one of us

    def firings(self, key: AlertKey, now: float) -> int:
        """How often an alert fired within ``frequent_window``."""
        since = now - self._settings.frequent_window
        return sum(since < at <= now for at in self._fired_at.get(key, ()))

    def _note(self, key: AlertKey, at: float) -> None:
        before = self._fired_at.pop(key, ())
        self._fired_at[key] = (*before, at)[-self._settings.frequent_limit :]
        if len(self._fired_at) > _MOST_REMEMBERED:
            del self._fired_at[next(iter(self._fired_at))]  # the one that fired longest ago

    def assign(self, incidents: Iterable[Incident]) -> None:
        """Write into the members of open incidents where they belong."""
        for incident in incidents:
            for key in incident.members if incident.open else ():
                alert = self._alerts.get(key)
                if alert is not None and alert.incident != incident.id:
                    self._alerts[key] = replace(alert, incident=incident.id)

    def step(self, now: float, verdicts: Verdicts, calendar: Calendar | None = None) -> list[Transition]:
        """Take in the judgements of one tick.

        Parameters
        ----------
        now
            UTC seconds, for stamps and for the two waits.
        verdicts
            An alert in both ``breaches`` and ``unknown`` is a breach.
        calendar
            What is planned now; turned to this tick already.

        Returns
        -------
        list[Transition]
            What moved, sorted by rule and series, so that equal input gives equal output.
        """
        waited = self._waited(now)
        transitions = []
        for key, alert in {**dict.fromkeys(verdicts.breaches), **self._alerts}.items():
            moved, reason = self._moved(key, alert, verdicts, now, waited)
            if calendar is not None and moved.active:
                began = alert is None or not alert.active
                moved, reason = _planned(moved, reason, calendar, began=began)
            if moved.state is AlertState.INACTIVE:
                self._alerts.pop(key, None)
            else:
                self._alerts[key] = moved
            if reason is not None:
                before = AlertState.INACTIVE if alert is None else alert.state
                transitions.append(Transition(now, before, moved, reason))
        transitions += self._outlasting(now, {move.alert.key for move in transitions}, calendar)
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
            return self._first_breach(Alert(key, AlertState.PENDING, now, now, verdicts.breaches[key]), now)
        if alert.active:
            alert = replace(alert, firing_seconds=alert.firing_seconds + waited)
        elif alert.ended_at:
            ago = alert.calm_seconds if alert.state is AlertState.PENDING else alert.waited_seconds
            alert = replace(alert, calm_seconds=ago + waited)
        if alert.outlasted and (verdict is not None or key not in verdicts.unknown):
            return self._outlasted(alert, verdict, now, near=key in verdicts.held)
        if verdict is not None:
            return self._breach(alert, verdict, now)
        if key in verdicts.held and alert.active:
            return replace(alert, updated_at=now, waited_seconds=0.0), None
        if key in verdicts.unknown or alert.state is AlertState.RESOLVED:
            return self._wait(alert, now, waited)
        return self._clear(alert, now, waited)

    def _first_breach(self, alert: Alert, now: float) -> tuple[Alert, Reason | None]:
        begun = replace(
            alert,
            state=AlertState.PENDING,
            started_at=now,
            updated_at=now,
            history=1,
            judged=1,
            waited_seconds=0.0,
            peak_score=alert.verdict.raw_score,
        )
        return self._fire_or_wait(begun, Reason(ReasonKind.BREACH_SEEN, self._breaches_in(begun)[1]), now)

    def _breach(self, alert: Alert, verdict: Verdict, now: float) -> tuple[Alert, Reason | None]:
        if alert.state is AlertState.RESOLVED:
            # ended_at stays until it fires: should it not, it is a resolved alert again.
            return self._first_breach(replace(alert, verdict=verdict), now)
        if alert.active:
            # Severity is a label, hence identity: if it changed, receivers would see another alert.
            verdict = replace(verdict, severity=alert.severity)
            reason = Reason(ReasonKind.BREACH_AGAIN, "out of bounds again before there were enough clear points")
            again = alert.state is AlertState.RESOLVING
            moved = replace(_breached(alert, verdict, now), state=AlertState.FIRING, calm_seconds=0.0)
            return moved, reason if again else None
        return self._fire_or_wait(_breached(alert, verdict, now), None, now)

    def _fire_or_wait(self, alert: Alert, otherwise: Reason | None, now: float) -> tuple[Alert, Reason | None]:
        """Decide about a pending alert whose newest point is a breach."""
        breaches, text = self._breaches_in(alert)
        if breaches >= self._timing(alert.key.rule).breach_points:
            return self._fired(alert, text, now)
        # The only breach that counts begins a new run: a rare outlier must not date the next fault back.
        return (replace(alert, started_at=now) if self._breaches_that_count(alert) == 1 else alert), otherwise

    def _fired(self, alert: Alert, text: str, now: float) -> tuple[Alert, Reason]:
        often = self.firings(alert.key, now)
        self._note(alert.key, now)
        verdict = alert.verdict
        if often >= self._settings.frequent_limit and verdict.severity in _LOWER:
            lower = _LOWER[verdict.severity]
            text += f"; {lower} instead of {verdict.severity}: it fired {often} times within the frequent_window"
            verdict = replace(verdict, severity=lower)
        # History starts anew: the points before must not count as clear ones.
        fired = replace(
            alert, state=AlertState.FIRING, verdict=verdict, history=0, judged=0, ended_at=0.0, firing_seconds=0.0,
            calm_seconds=0.0, refired=alert.refired + bool(alert.ended_at),
        )  # fmt: skip
        return fired, Reason(ReasonKind.ENOUGH_BREACHES, text)

    def _clear(self, alert: Alert, now: float, waited: float) -> tuple[Alert, Reason | None]:
        """A point within bounds, of an alert that is pending or active."""
        moved = _judged(alert, 0, now)
        if alert.state is AlertState.PENDING:
            if self._breaches_that_count(moved):
                return moved, None
            return self._calm(moved, Reason(ReasonKind.NOT_ENOUGH_BREACHES, self._breaches_in(moved)[1]))
        moved = replace(moved, state=AlertState.RESOLVING, calm_seconds=alert.calm_seconds + waited)
        enough, text = self._clears_in(moved)
        if enough and not self.kept_by(moved):
            return _resolved(moved, now), Reason(ReasonKind.ENOUGH_CLEARS, text)
        first = alert.state is AlertState.FIRING
        return moved, Reason(ReasonKind.CLEAR_SEEN, text) if first else None

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
        return (_resolved(moved, now), gone) if alert.active else self._calm(moved, gone)

    def _outlasting(self, now: float, moved: Container[AlertKey], calendar: Calendar | None) -> Iterator[Transition]:
        """End what statistics say for longer than ``max_firing``, where nothing speaks against learning it."""
        limit = self._settings.max_firing
        old = [one for one in self._alerts.values() if one.active and one.firing_seconds >= limit]
        if not limit or not old:
            return
        active = [one for one in self._alerts.values() if one.active]
        kept = {one.key.series.entity for one in active if one.severity is Severity.CRITICAL}
        kept |= frozenset() if calendar is None else calendar.frozen
        text = f"fired for {format_duration(limit)} (max_firing), never well within bounds: taken as normal from now on"
        for alert in old:
            if not alert.verdict.statistical or alert.key in moved or alert.key.series.entity in kept:
                continue
            ended = self._alerts[alert.key] = replace(_resolved(alert, now), outlasted=text)
            yield Transition(now, alert.state, ended, Reason(ReasonKind.OUTLASTED, text))

    def _outlasted(
        self, alert: Alert, verdict: Verdict | None, now: float, *, near: bool
    ) -> tuple[Alert, Reason | None]:
        """A known point of an alert that was ended although it was out of bounds: quiet until it is fine, or worse."""
        if verdict is not None and verdict.raw_score >= _WORSE * alert.peak_score:
            return self._first_breach(replace(alert, verdict=verdict, outlasted=""), now)
        moved = _judged(alert, int(near or verdict is not None), now)
        return replace(moved, outlasted="") if self._clears_in(moved)[0] else moved, None

    def _calm(self, alert: Alert, reason: Reason) -> tuple[Alert, Reason]:
        """A pending alert goes back to where it came from: never fired, or resolved a while ago."""
        if not alert.ended_at:
            return replace(alert, state=AlertState.INACTIVE), reason
        return replace(alert, state=AlertState.RESOLVED, history=0, judged=0, waited_seconds=alert.calm_seconds), reason

    def standing(self, key: AlertKey) -> str:
        """Where an alert stands, in words: what its windows counted, and what keeps it."""
        alert = self._alerts.get(key)
        timing = self._timing(key.rule)
        if alert is not None and alert.outlasted:
            worse = _WORSE * alert.peak_score
            return f"{alert.outlasted}; quiet until {self._clears_in(alert)[1]} or its score is {worse:.3g}"
        if alert is None or alert.state is AlertState.RESOLVED:
            ago = "" if alert is None else f"; resolved {alert.waited_seconds:.0f} s ago"
            return _count(0, timing.window_points, "out of bounds", timing.breach_points) + ago
        if not alert.active:
            return self._breaches_in(alert)[1]
        limit = self._settings.max_firing if alert.verdict.statistical else 0.0
        ends = f"ends at {format_duration(limit)} of firing, so far {alert.firing_seconds:.0f} s" if limit else ""
        muted = f"not told ({alert.muted})" if alert.muted else ""
        return "; ".join(filter(None, (self._clears_in(alert)[1], self.kept_by(alert), ends, muted)))

    def kept_by(self, alert: Alert) -> str:
        """Which damping keeps an active alert although it is within bounds; ``""`` when none does."""
        settings = self._settings
        if alert.firing_seconds < settings.min_firing:
            return f"fired {alert.firing_seconds:.0f} s ago (at least {settings.min_firing:.0f} s)"
        # Firing for the nth time is having fired again n − 1 times.
        if alert.refired + 1 >= settings.flap_limit and alert.calm_seconds < settings.flap_calm:
            return (f"it flaps: fired {alert.refired + 1} times, and is within bounds for {alert.calm_seconds:.0f} s "
                    f"(needs {settings.flap_calm:.0f} s)")  # fmt: skip
        return ""

    def _clears_in(self, alert: Alert) -> tuple[bool, str]:
        timing = self._timing(alert.key.rule)
        points = min(alert.judged, timing.clear_window)
        clears = points - (alert.history & _newest(points)).bit_count()
        return clears >= timing.clear_points, _count(clears, points, "within bounds", timing.clear_points)

    def _breaches_in(self, alert: Alert) -> tuple[int, str]:
        timing = self._timing(alert.key.rule)
        breaches = (alert.history & _newest(timing.window_points)).bit_count()
        # Before its first breach a series was fine, so the window is always full.
        return breaches, _count(breaches, timing.window_points, "out of bounds", timing.breach_points)

    def _breaches_that_count(self, alert: Alert) -> int:
        """Breaches that may yet be part of a firing: no window that holds K of N has room for more than N − K clear
        points, so what has more behind it is over."""
        timing = self._timing(alert.key.rule)
        breaches, room = 0, timing.window_points - timing.breach_points
        for age in range(timing.window_points):
            if alert.history >> age & 1:
                breaches += 1
            elif room:
                room -= 1
            else:
                break
        return breaches


def _planned(alert: Alert, reason: Reason | None, calendar: Calendar, *, began: bool) -> tuple[Alert, Reason | None]:
    """Hold an alert back that begins in a window, and let it go when that is over."""
    if began:
        muted, after = calendar.muted(alert.key, alert.severity), calendar.after(alert.key.series.entity)
        added = (after, f"not told yet ({muted})" if muted else "")
        if reason is not None:
            reason = Reason(reason.kind, "; ".join(filter(None, (reason.text, *added))))
        return replace(alert, muted=muted, after=after), reason
    if not alert.muted:
        return alert, reason
    muted = calendar.muted(alert.key, alert.severity)
    if not muted:
        reason = Reason(ReasonKind.TOLD_NOW, f"still there after {alert.muted}")
    return replace(alert, muted=muted), reason


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
