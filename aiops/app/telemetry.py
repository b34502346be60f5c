"""Our own ``/metrics``, gathered fresh from the components at each scrape."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan

from aiops import __version__
from aiops.app.explain import ExplainCounts
from aiops.app.fits import FitCounts
from aiops.collect.hub import HubCounts
from aiops.detect.base import Scope
from aiops.explain.llm import LlmCounts
from aiops.incidents.alert import Alert, AlertState, Incident
from aiops.incidents.feedback import Tally
from aiops.incidents.slo import Budget
from aiops.kit.settings import format_duration
from aiops.kit.tasks import Beat
from aiops.notify.base import ReceiverStatus
from aiops.notify.remote_write import WriteCounts
from aiops.signals.catalog import SIGNALS
from aiops.signals.telemetry import Family, FamilyKind, exported_name
from aiops.signals.tenancy import Tenancy
from aiops.signals.types import SeriesKey, SourceStatus

_GAUGE, _COUNTER = FamilyKind.GAUGE, FamilyKind.COUNTER
_RESERVED = {"severity", "source", "kind", "stat"}


def gauge(name: str, help_: str, value: float) -> Family:
    """One gauge without labels."""
    return Family(name, _GAUGE, help_, [({}, value)])


def counter(name: str, help_: str, value: float) -> Family:
    """One counter without labels."""
    return Family(name, _COUNTER, help_, [({}, value)])


def build_info() -> Family:
    """Version of this program as a label."""
    return Family("aiops_build_info", _GAUGE, "Version of aiops.", [({"version": __version__}, 1.0)])


def target_families(sources: Sequence[SourceStatus]) -> Iterator[Family]:
    """Health and cost of every source."""

    def rows(value_of: str) -> list[tuple[Mapping[str, str], float]]:
        found: list[tuple[Mapping[str, str], float]] = []
        for status in sources:
            value = status.facts.get(value_of)
            if isinstance(value, float | int) and not isnan(value):
                found.append((_source_labels(status), float(value)))
        return found

    # A source that never was there and need not be (no GPU driver on this machine) is neither up nor down.
    yield Family("aiops_target_up", _GAUGE, "1 when the last attempt to read the source succeeded.",
                 [(_source_labels(s), float(s.up)) for s in sources if s.up or s.failures > 0])  # fmt: skip
    yield Family("aiops_target_last_success_timestamp_seconds", _GAUGE, "When the source last answered well.",
                 [(_source_labels(s), s.last_success) for s in sources if s.last_success > 0])  # fmt: skip
    for fact, name, help_ in (
        ("duration_seconds", "aiops_target_duration_seconds", "Duration of the last attempt."),
        ("size_bytes", "aiops_target_response_size_bytes", "Unpacked size of the last page."),
        ("samples", "aiops_target_samples", "Samples on the last page."),
        ("bad_lines", "aiops_target_bad_lines", "Lines of the last page that could not be read."),
    ):
        yield Family(name, _GAUGE, help_, rows(fact))


def _source_labels(status: SourceStatus) -> dict[str, str]:
    labels = {name: value for name, value in status.entity.labels if name not in _RESERVED}
    return {"source": status.source, "kind": status.kind, **labels}


def alert_families(alerts: Iterable[Alert], incidents: Iterable[Incident]) -> Iterator[Family]:
    """How many alerts stand in each state; every combination is there from the start."""
    standing = list(alerts)
    counts = Counter((str(alert.state), str(alert.severity)) for alert in standing)
    states = [state for state in AlertState if state is not AlertState.INACTIVE]
    rows = [
        ({"state": str(state), "severity": severity}, float(counts[(str(state), severity)]))
        for state in states
        for severity in ("critical", "warning", "info")
    ]
    yield Family("aiops_alerts", _GAUGE, "Alerts by state and severity.", rows)
    yield gauge("aiops_alerts_muted", "Alerts that fire and are held back: maintenance, or a deploy just now.",
                sum(alert.active and not alert.told for alert in standing))  # fmt: skip
    yield gauge("aiops_incidents_open", "Incidents that are not over.", sum(incident.open for incident in incidents))


def receiver_families(receivers: Sequence[ReceiverStatus]) -> Iterator[Family]:
    """Every receiver of notices: what it took, what it did not, and how long its queue is."""

    def rows(value_of: str) -> list[tuple[Mapping[str, str], float]]:
        values = [({"receiver": r.name, "kind": r.kind}, float(getattr(r, value_of))) for r in receivers]
        return [(labels, value) for labels, value in values if not isnan(value)]

    yield Family("aiops_notifications_sent", _COUNTER, "Notices that a receiver took.", rows("sent"))
    yield Family("aiops_notifications_dropped", _COUNTER, "Notices that were given up.", rows("dropped"))
    yield Family("aiops_notifications_refused", _COUNTER, "Notices of calls that failed for good.", rows("refused"))
    yield Family("aiops_notifications_invalid", _COUNTER, "Notices that can never be valid.", rows("invalid"))
    yield Family("aiops_notifications_muted", _COUNTER, "Notices below a receiver's severity.", rows("muted"))
    yield Family("aiops_notifications_deduped", _COUNTER, "Notices that were no news to a receiver.", rows("deduped"))
    yield Family("aiops_notification_errors", _COUNTER, "Calls that failed.", rows("errors"))
    yield Family("aiops_notifications_queue_length", _GAUGE, "Notices that wait.", rows("queue_length"))
    yield Family("aiops_notifications_queue_capacity", _GAUGE, "Most notices that may wait.", rows("queue_capacity"))
    yield Family("aiops_notification_latency_seconds", _GAUGE, "Duration of the last call.", rows("latency_seconds"))


def feedback_families(tallies: Mapping[str, Tally], wider: Mapping[Scope, float]) -> Iterator[Family]:
    """What people said of alerts, by the detector that was alarmed, and how many thresholds that widened."""
    judged = [
        ({"detector": name, "judgement": judgement}, float(count))
        for name, tally in tallies.items()
        for judgement, count in (("true", tally.true), ("false", tally.false))
    ]
    yield Family("aiops_feedback_alerts", _GAUGE, "Alerts that people judged within the last 90 days.", judged)
    precise = [({"detector": name}, tally.precision) for name, tally in tallies.items() if not isnan(tally.precision)]
    yield Family("aiops_detector_precision_ratio", _GAUGE, "Share of the judged alerts that were true.", precise)
    yield gauge("aiops_feedback_widened_thresholds", "Thresholds that are wider because of feedback.", len(wider))


def inbound_families(taken: int, own: int, full: int, standing: int) -> Iterator[Family]:
    """Alerts of others that Alertmanagers told us."""
    yield counter("aiops_inbound_alerts", "Alerts of others that began or ended.", taken)
    yield counter("aiops_inbound_own_alerts", "Alerts of ours that came back and were left out.", own)
    yield counter("aiops_inbound_refused_batches", "Batches refused because too many stood.", full)
    yield gauge("aiops_inbound_alerts_standing", "Alerts of others that are kept now.", standing)


def signal_families(rows: Iterable[tuple[SeriesKey, float]]) -> Iterator[Family]:
    """Current value of every canonical series; unknown values are left out, never shown as 0."""
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for key, value in rows:
        if not isnan(value):
            labels = {**dict(key.entity.labels), "kind": str(key.entity.kind), "stat": key.stat}
            samples.setdefault(key.signal, []).append((labels, value))
    for name in sorted(samples):
        signal = SIGNALS[name]
        exported = exported_name(signal)
        kind = _COUNTER if exported.endswith("_total") else _GAUGE  # a gauge of that name fails promtool's lint
        yield Family(exported.removesuffix("_total"), kind, signal.meaning, samples[name])


def tenancy_families(tenancy: Tenancy) -> Iterator[Family]:
    """Who was given which GPU; the names of the labels are none that Prometheus gives to its targets."""
    yield Family("aiops_gpu_pod_info", _GAUGE, "1 for each container that was given a GPU, as the kubelet says.", [
        ({"gpu": gpu, "node": tenancy.node, "pod_namespace": one.pod.namespace, "pod_name": one.pod.name,
          "container_name": one.container, **({"mig": one.instance} if one.instance else {})}, 1.0)
        for gpu, held in tenancy.tenants.items() for one in held])  # fmt: skip


def fit_families(counts: FitCounts) -> Iterator[Family]:
    """What the rounds of the fit worker did and cost."""
    yield counter("aiops_fit_rounds", "Rounds of fitting.", counts.rounds)
    yield counter("aiops_fit_rounds_skipped", "Rounds left out because the machine was busy.", counts.skipped)
    yield counter("aiops_fit_failures", "Rounds, or detectors in a round, that brought no models.", counts.failures)
    yield counter("aiops_fit_models", "Models taken over from the fit worker.", counts.models)
    yield counter("aiops_fit_seconds", "Duration of the rounds.", counts.wall_seconds)
    yield counter("aiops_fit_cpu_seconds", "CPU time of the fit worker.", counts.cpu_seconds)


def explain_families(counts: ExplainCounts, llm: LlmCounts, queue_length: int) -> Iterator[Family]:
    """What a language model was asked, what it cost, and what of its words was true."""
    yield counter("aiops_explain_worded", "Answers of the language model that were checked.", counts.worded)
    yield counter("aiops_explain_dropped", "Incidents not worded because the queue was full.", counts.dropped)
    yield counter("aiops_explain_duplicates", "Incidents not worded because the same was told before.",
                  counts.duplicates)  # fmt: skip
    yield gauge("aiops_explain_queue_length", "Incidents that wait to be worded.", queue_length)
    yield Family("aiops_explain_sentences", _COUNTER, "Sentences of the language model by what became of them.",
                 [({"result": "kept"}, float(counts.kept_sentences)),
                  ({"result": "dropped"}, float(counts.dropped_sentences))])  # fmt: skip
    yield counter("aiops_llm_calls", "Calls to the language model.", llm.calls)
    yield counter("aiops_llm_failures", "Calls without a usable answer.", llm.failures)
    yield counter("aiops_llm_refused", "Questions not asked: the day's budget is spent, or it failed too often.",
                  llm.refused)  # fmt: skip
    yield counter("aiops_llm_tokens", "Tokens in and out.", llm.tokens_in + llm.tokens_out)
    yield counter("aiops_llm_cost_usd", "What the calls cost, by the prices of the configuration.", llm.cost)


def read_families(beats: Mapping[str, Beat]) -> Iterator[Family]:
    """How often each source was asked, and how often its turn came while it was still busy."""
    yield Family("aiops_reads", _COUNTER, "Attempts to read a source.",
                 [({"source": name}, float(beat.ticks)) for name, beat in beats.items()])  # fmt: skip
    yield Family("aiops_reads_skipped", _COUNTER, "Attempts left out because the one before still ran.",
                 [({"source": name}, float(beat.skipped)) for name, beat in beats.items()])  # fmt: skip


def dns_families(lookups: int, failures: int) -> Iterator[Family]:
    """How DNS answers for ``dns_sd``."""
    yield counter("aiops_dns_lookups", "Names that were looked up to find targets.", lookups)
    yield counter("aiops_dns_lookup_failures", "Look-ups of them without an answer.", failures)


def hub_families(hubs: Mapping[str, HubCounts]) -> Iterator[Family]:
    """What reading from each server took."""

    def rows(value_of: str) -> list[tuple[Mapping[str, str], float]]:
        return [({"source": name}, float(getattr(counts, value_of))) for name, counts in hubs.items()]

    yield Family("aiops_hub_queries", _COUNTER, "Questions to a server that scrapes for us.", rows("queries"))
    yield Family("aiops_hub_failures", _COUNTER, "Turns of questions that failed.", rows("failures"))
    yield Family("aiops_hub_turns_put_off", _COUNTER, "Turns left out while waiting after failures.", rows("put_off"))
    yield Family("aiops_hub_scrapes", _COUNTER, "Scrapes of the server that were read.", rows("scrapes"))
    yield Family("aiops_hub_series", _GAUGE, "Series in the last answers of the server.", rows("series"))


def remote_write_families(writers: Mapping[str, tuple[WriteCounts, int]]) -> Iterator[Family]:
    """What became of the samples that are written elsewhere."""

    def rows(value_of: str) -> list[tuple[Mapping[str, str], float]]:
        values = [({"receiver": name}, float(getattr(counts, value_of))) for name, (counts, _) in writers.items()]
        return [(labels, value) for labels, value in values if not isnan(value)]

    yield Family("aiops_remote_write_samples", _COUNTER, "Samples that a receiver took.", rows("sent"))
    yield Family("aiops_remote_write_refused_samples", _COUNTER, "Samples of requests that were refused for good.",
                 rows("refused"))  # fmt: skip
    yield Family("aiops_remote_write_dropped_samples", _COUNTER, "Samples lost because too many waited.",
                 rows("dropped"))  # fmt: skip
    yield Family("aiops_remote_write_retries", _COUNTER, "Requests that failed and were repeated.", rows("retries"))
    yield Family("aiops_remote_write_waiting_samples", _GAUGE, "Samples that are not delivered yet.",
                 [({"receiver": name}, float(waiting)) for name, (_, waiting) in writers.items()])  # fmt: skip
    yield Family("aiops_remote_write_sent_timestamp_seconds", _GAUGE, "Time of the newest sample that was taken.",
                 rows("sent_until"))  # fmt: skip


def slo_families(budgets: Iterable[Budget]) -> Iterator[Family]:
    """Error budgets; a budget without an event is left out, never shown as untouched."""
    kept = [({"slo": one.objective.title, **dict(one.pool.labels)}, one) for one in budgets]

    def rows(value_of: str) -> list[tuple[Mapping[str, str], float]]:
        values = [(labels, float(getattr(one, value_of))) for labels, one in kept]
        return [(labels, value) for labels, value in values if not isnan(value)]

    yield Family("aiops_slo_objective_ratio", _GAUGE, "Share of events that was promised to be good.",
                 [(labels, one.objective.objective) for labels, one in kept])  # fmt: skip
    yield Family("aiops_slo_budget_left_ratio", _GAUGE, "Share of the period's error budget that is left; negative "
                 "when overspent.", rows("left_ratio"))  # fmt: skip
    yield Family("aiops_slo_period_events", _GAUGE, "Requests (tokens, for itl) of the period.", rows("total"))
    yield Family("aiops_slo_period_bad_events", _GAUGE, "Those of them that were bad.", rows("bad"))
    yield Family("aiops_slo_burn_rate", _GAUGE, "How many times as fast as it may the error budget is spent.",
                 [({**labels, "window": format_duration(window)}, rate)
                  for labels, one in kept for window, rate in one.burn.items() if not isnan(rate)])  # fmt: skip
