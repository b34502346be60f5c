"""Routes about alerts, incidents and error budgets, and questions about all of it."""

from aiops.web.api import Call, Route
from aiops.web.asked import AlertAsked, ById, Nothing, Question
from aiops.web.records_told import (
    AlertRecords,
    AnswerRecord,
    BudgetRecords,
    CaseRecord,
    ExplanationRecords,
    IncidentRecords,
    OneIncident,
)
from aiops.web.source import Refused


async def _alerts(call: Call[Nothing]) -> AlertRecords:
    """Newest first. `labels` and `annotations` are those that Alertmanager is sent. `state` is `pending`, `firing`,
    `resolving` or `resolved`. `expected`, `lower`, `upper` and `votes` (detector → score) belong to statistical rules.
    `incident` is empty until the alert fires and is told. `mutedBy` says why it is not told yet although it fires (a
    maintenance window, the minutes after a deploy); `silencedBy` lists the silences of the Alertmanagers that cover it
    (`id`, `comment`, `createdBy`, `endsAt`), read every 30 s; `after` is what had changed shortly before.
    """
    return {"alerts": call.source.alerts()}


async def _alert(call: Call[AlertAsked]) -> ExplanationRecords:
    """An alert that is over is found while it is in the archive. Of a rule, the entities nearest to an alert come
    first, at most 50. `why` is the answer in a sentence, `seen` what the rule saw in the newest tick: each condition
    that must hold (`holds` is null where it is unknown), and the values. For statistics `score` is the distance from
    what is expected, 1 at the edge of the band. `damping` counts points and names what else keeps the alert;
    `transitions` are the newest first.
    """
    return {"explanations": await call.source.describe(call.asked.name, call.asked.entity)}


async def _incidents(call: Call[Nothing]) -> IncidentRecords:
    """At most 100: the open ones, then those that ended within the last `flap_window` of the section `incidents`; older
    ones are in the archive only. A member that is forgotten by now keeps its name, series and entity and loses the
    rest. `confidence` is how sure it is that something is wrong: broken rules and error budgets count, statistics
    raise or lower it (`confidenceReasons`); null when no member is known any more.
    """
    return {"incidents": call.source.incidents()}


async def _incident(call: Call[ById]) -> OneIncident:
    """The record of the list, and `summary`. `language` is that of the section `explain`. Each sentence names its
    `part` (`what`, `since`, `impact`, `cause`, `ruled_out`, `changes`, `actions`, `confidence`; no part is ever
    missing) and the ids of the evidence that it cites. Templates write it, from the incident and its diagnosis; it
    is there as soon as the incident is. `model` is null, or what the language model of the section `explain.llm`
    said: only sentences that were found true ([how](../explanations.md)), how many were not and why, its choice of
    actions from the closed list, its order of the causes where it disputes the ranking (which stays), and what it
    cost.

    `diagnosis` is null until one was made, mostly in the tick in which the incident opened. `causes` come best first;
    each cites its `evidence` by id; each fact names its `series` (null for what is none) and says with `query` what to
    ask Prometheus to see it again. `confidence` is the share of the signature that was seen, no probability.
    `abstained` with a `reason` stands where no cause is named; `ranker` names the method that ordered the answer. The
    known faults: [causes.md](causes.md).
    """
    found = call.source.incident(call.asked.id)
    if found is None:
        raise Refused(404, "there is no such incident, or it is forgotten by now")
    return {"incident": found}


async def _case(call: Call[ById]) -> CaseRecord:
    """Text of each file by its name, as `aiops incident export` writes them and `aiops rca replay` reads them."""
    found = await call.source.case(call.asked.id)
    if found is None:
        raise Refused(404, "no diagnosis of such an incident is kept")
    return {"files": found}


async def _slo(call: Call[Nothing]) -> BudgetRecords:
    """One record per objective of the section `slo` and pool in which its events were seen; a pool whose engine does
    not tell (no histogram, no counter of refused requests) has none. `events` and `bad` are those of the `period`;
    `budgetLeft` is the share of its error budget that is left, negative when overspent. A burn rate of 1 uses the
    budget up exactly at the end of the period; null: nothing happened in that window. `burning` names the pairs of
    windows that burn now, `told` those that did so long enough to be an alert. `effectiveThreshold` is the bucket
    bound that decides for a latency.
    """
    return {"budgets": call.source.slo()}


async def _ask(call: Call[Question]) -> AnswerRecord:
    """The question is compiled to one of a few intents (`why`, `how`, `value`, `rank`, `state`, `happened`, `changed`,
    `alerts`, `replicas`, `runs_out`; `order` and `unclear` are answered by a hint) with signals, names and a window of
    time, and answered from what is known: the window in memory, incidents, events, alerts, advice, runbooks and past
    incidents. No language model takes part and nothing is changed. `query` is what was
    understood, `promql` the same for a Prometheus that scrapes this daemon, `sources` what the sentences cite.
    """
    return await call.source.ask(call.asked.q)


_NO_ALERT = {404: "there is no such alert or rule, or nothing that it could be about"}
_NO_INCIDENT = {404: "there is no such incident, or it is forgotten by now"}
_NO_CASE = {404: "no diagnosis of such an incident is kept"}
ROUTES = (
    Route("GET", "/api/v1/alerts", _alerts,
          "alerts that are pending, firing, resolving or resolved a short while ago"),
    Route("GET", "/api/v1/alerts/{name}", _alert, "why an alert fired, or why a rule does not fire",
          refusals=_NO_ALERT),
    Route("GET", "/api/v1/incidents", _incidents, "incidents, open ones first"),
    Route("GET", "/api/v1/incidents/{id}", _incident, "one incident with its summary and its diagnosis",
          refusals=_NO_INCIDENT),
    Route("GET", "/api/v1/incidents/{id}/case", _case,
          "the numbers behind an incident as files for `aiops rca replay`; also of one that is over",
          refusals=_NO_CASE),
    Route("GET", "/api/v1/slo", _slo, "error budgets: what is left of them, and how fast they burn"),
    Route("GET", "/api/v1/ask", _ask, "answers a question in English or Chinese"),
)  # fmt: skip
