"""The way of an incident to one receiver: mute → dedupe → rate limit → send with retry → record.

The first two stand here, the next two are the lane's, and what was sent is recorded, so that a restart neither repeats
nor loses anything: open incidents are offered again at start, and those that the receiver has heard of end here.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable

from aiops.detect.base import Severity
from aiops.incidents.alert import Notified
from aiops.notify.base import ReceiverStatus
from aiops.notify.lane import Lane
from aiops.notify.notice import IncidentNotice

_RANK = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}
_MOST_REMEMBERED = 10_000
News = Callable[[IncidentNotice], str]
"""What of an incident is news to a receiver: equal texts are told once."""


def every_change(item: IncidentNotice) -> str:
    """For programs: every change of the record, and of the cause that is named."""
    return f"{item.incident.updated_at:.3f} {item.incident.ended_at:.3f} {item.cause}"


def milestones(item: IncidentNotice) -> str:
    """For people: it began, it got worse, a cause was found, it ended."""
    return f"{item.incident.severity} {item.cause}".rstrip() if item.incident.open else "resolved"


class Route:
    """Mutes and dedupes in front of one lane.

    Parameters
    ----------
    least
        Incidents below this severity are not told.
    news
        What is told once.
    """

    def __init__(self, lane: Lane[IncidentNotice], *, least: Severity, news: News) -> None:
        self.lane = lane
        self._least = least
        self._news = news
        self._known: OrderedDict[str, str] = OrderedDict()
        self.muted_total = 0
        self.deduped_total = 0

    def remember(self, told: Iterable[Notified]) -> None:
        """What this receiver has heard, from before a restart."""
        for one in sorted(told, key=lambda one: one.at):
            self._note(one.incident, one.news)

    def offer(self, item: IncidentNotice) -> None:
        """Tell, if it is loud enough and new; never blocks."""
        if _RANK[item.incident.severity] < _RANK[self._least]:
            self.muted_total += 1
            return
        news = self._news(item)
        if self._known.get(item.incident.id) == news:
            self.deduped_total += 1
            return
        self._note(item.incident.id, news)
        self.lane.offer(item)

    def notified(self, item: IncidentNotice, at: float) -> Notified:
        """What to record of a message that was taken."""
        return Notified(self.lane.name, item.incident.id, self._news(item), at)

    def status(self) -> ReceiverStatus:
        """How the receiver is."""
        return self.lane.status(muted=self.muted_total, deduped=self.deduped_total)

    def _note(self, incident: str, news: str) -> None:
        self._known[incident] = news
        self._known.move_to_end(incident)
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
