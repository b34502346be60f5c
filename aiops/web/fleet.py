"""Routes about the fleet: what is watched, every signal of it, and what judges them."""

from aiohttp import web

from aiops.web.api import Call, Route, failure
from aiops.web.asked import LabelsTried, Nothing, PageAsked, RulesTried, SeriesFilter, SignalsAsked, Span
from aiops.web.events import Events
from aiops.web.records_fleet import (
    ChangeRecords,
    DetectorRecords,
    FleetRecord,
    HistoryRecord,
    JobRecords,
    NameRecords,
    PageRecord,
    RelabelRecord,
    SignalRecords,
    TargetRecords,
)
from aiops.web.source import Refused

EVENTS: web.AppKey[Events] = web.AppKey("events", Events)


async def _fleet(call: Call[Nothing]) -> FleetRecord:
    """`health` is `critical`, `warning` or `info` after the worst active alert on a thing and, for a pool, on what is
    below it; `silent` when nothing is heard of it, else `ok`. `numbers` holds what is known now of a short list of
    signals; a value that nobody confirmed for three intervals is left out. `gpus` are those
    that the kubelet gave to the replica's pod (`pod_resources`), else those whose node is the host of the replica and
    of no other; the rest stands under `nodes`. `score` is the highest of the watched series of a
    thing, null where none is judged. `elsewhere` lists nodes and targets with alerts that belong to no replica. The
    sickest pool comes first.
    """
    return call.source.fleet()


async def _events(request: web.Request) -> web.StreamResponse:
    """A stream in the format that browsers' `EventSource` reads. `data` is JSON: `at` of the tick, and `changed`,
    whether an alert moved. It says only that there is news; ask for what you show. A comment comes every 15 s when
    there is none. Who does not read for 10 s is let go.

    ```text
    event: tick
    data: {"at": "2026-11-27T16:19:59.010Z", "changed": false}
    ```
    """
    events = request.app[EVENTS]
    if events.full():
        return failure(503, "unavailable", "as many pages listen as may (web.max_listeners); ask again later")
    return await events.stream(request)


async def _targets(call: Call[Nothing]) -> TargetRecords:
    """`health` is `up`, `down`, or `unknown` for a source that was not asked yet or is absent without that being a
    failure (a node without a GPU). `facts` depends on the kind of the source.
    """
    return {"activeTargets": call.source.targets()}


async def _relabel(call: Call[LabelsTried]) -> JobRecords | RelabelRecord:
    """Without parameters, the jobs and how many rules each has. With `job` and `labels`, what each of its rules makes
    of them. A rule that drops the target says why and is the last step.
    """
    return call.source.relabelled(call.asked.job, call.asked.labels)


async def _rules(call: Call[RulesTried]) -> RelabelRecord:
    """The same before a job has the rules; nothing is changed by it. What is wrong with a rule stands in `error`."""
    return call.source.rules_tried(call.asked.rules, call.asked.labels)


async def _page(call: Call[PageAsked]) -> PageRecord:
    """`text` is the beginning of the last answer, up to 64 KiB, **as it came**: escape it. `report` is what `aiops
    metrics doctor -o json` prints, of the last page that could be read; null before the first.
    """
    found = call.source.last_page(call.asked.source)
    if found is None:
        raise Refused(404, f"there is no scraped target {call.asked.source!r}")
    return found


async def _signals(call: Call[SignalsAsked]) -> SignalRecords:
    """`value` and `at` are the newest known value, however old. `score` is 0 as expected, 1 at the edge of the band,
    null while the detectors have seen too little of the series; `expected`, `lower` and `upper` are the band, null
    on a side that does not hurt. `confidence` is 0 while the band is nominal and 1 when it rests on the series' own
    history; `learning` is true while a known series is not judged: it is young, or it has just been restarted or
    deployed. `votes` has the score of each detector that judged the series.
    """
    return {"signals": call.source.signals(signal=call.asked.signal, entity=call.asked.entity)}


async def _names(call: Call[Nothing]) -> NameRecords:
    """In the order of the [catalogue](signals.md)."""
    return call.source.names()


async def _range(call: Call[SeriesFilter]) -> HistoryRecord:
    """`at` are UTC seconds, one per row of the window (`store.window`), `step` seconds apart; every list of a series
    has one number per row. `lower` and `upper` are null on a side that does not hurt and where nothing was judged.
    Values are exact; band and score are kept in 120 slots per window (30 s each by default): the last band and the
    highest score of a slot. They begin anew when the daemon starts. `votes` are the detectors' scores of now.
    """
    return call.source.history(call.asked)


async def _changes(call: Call[Span]) -> ChangeRecords:
    """Every series is compared with its own rows before `from`; those that moved stand in the answer, the farthest
    first. `distance` is robust and has no unit: 2 has left the usual range. `harm` counts only the way that hurts.
    """
    return await call.source.changes(call.asked)


async def _detectors(call: Call[Nothing]) -> DetectorRecords:
    """`judged` are series on which a detector has an opinion, `outside` those beyond its band; an adviser's opinion
    raises no alert. Of a rule, `watched` are the series or entities that it looks at, `outside` and `fine` what it
    says of them; the rest is not known. They are null for rules about sources and events, and for rules that nothing
    feeds: then `missing` names the signals that nobody reports.
    """
    return call.source.detectors()


_NO_JOB = {404: "there is no such job"}
_NO_TARGET = {404: "there is no such target"}
_NOTHING = {404: "the window has fewer than three rows before `from`, or none until `to`"}
_FULL = {503: "as many listen as `max_listeners` of the section `web` allows"}
ROUTES = (
    Route("GET", "/api/v1/fleet", _fleet, "pools, replicas and GPUs with their health and a few numbers"),
    Route("GET", "/api/v1/events", _events, "server-sent events: one `tick` whenever the fleet was looked at",
          refusals=_FULL, content=("text/event-stream",)),
    Route("GET", "/api/v1/targets", _targets, "every source and its health"),
    Route("GET", "/api/v1/targets/relabel", _relabel,
          "what the relabelling rules of a job make of a target, step by step", refusals=_NO_JOB),
    Route("POST", "/api/v1/targets/relabel", _rules, "what relabelling rules would make of a target"),
    Route("GET", "/api/v1/targets/page", _page,
          "what one target said last, and which signals were found in it", refusals=_NO_TARGET),
    Route("GET", "/api/v1/signals", _signals, "latest value of every series, with what was expected"),
    Route("GET", "/api/v1/signals/names", _names, "every signal that there is a series of"),
    Route("GET", "/api/v1/signals/range", _range, "the window of some series: values, band and score over time"),
    Route("GET", "/api/v1/signals/changes", _changes, "what changed between two times, ranked over all series",
          refusals=_NOTHING),
    Route("GET", "/api/v1/detectors", _detectors, "every detector and rule: what it watches, and why it says nothing"),
)  # fmt: skip
