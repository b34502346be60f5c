"""Rows about judgement: error budgets, bands and votes, what the budget of false alerts buys, who has a say."""

from aiops.render.grafana import RATE, Panel, Row, Target
from aiops.render.grafana_own import REPLICA, WATCHED, legend, own, rate

_SLO = ("slo", "pool", "model_name")
_SLO_NAME = legend(_SLO)
_SERIES = (*REPLICA, "signal", "stat")
_SERIES_NAME = legend(_SERIES)
_LOUDEST = 10


def error_budgets() -> Row:
    """Promises, and how much may still go wrong."""
    return Row(
        "Error budgets",
        (
            Panel("Budget left", "Share of the period's error budget that is left; negative when overspent.",
                  (Target(_of_slo("aiops_slo_budget_left_ratio"), _SLO_NAME),), "percentunit", width=6),
            Panel(
                "Burn rate",
                "How many times as fast as it may the budget is spent. 1 uses it up exactly within the period.",
                (
                    Target(_of_slo("aiops_slo_burn_rate", 'window="1h"'), f"{_SLO_NAME} 1h"),
                    Target(_of_slo("aiops_slo_burn_rate", 'window="3d"'), f"{_SLO_NAME} 3d", line=True),
                ),
                axis="times",
                width=6,
            ),
            Panel(
                "Good events",
                "Share of the period's events that were good, and (dashed) the share that was promised.",
                (
                    Target(f"1 - {_of_slo('aiops_slo_period_bad_events')} / {_of_slo('aiops_slo_period_events')}",
                           _SLO_NAME),
                    Target(_of_slo("aiops_slo_objective_ratio"), f"{_SLO_NAME} promised", line=True),
                ),
                "percentunit",
                width=6,
                top=1,
            ),
            Panel("Budgets left out", "Most budgets that one turn left out, because there are too many.",
                  (Target(own("aiops_slo_left_out"), "{{instance}}"),), width=6),
        ),
    )  # fmt: skip


def _of_slo(metric: str, extra: str = "") -> str:
    return f"max by ({', '.join(_SLO)}) ({own(metric, extra)})"


def anomalies() -> Row:
    """What is out of line, and who says so."""
    shown = f'{WATCHED}, model_name=~"$model"'
    return Row(
        "Out of line",
        (
            Panel(
                "Largest scores",
                "0 is as expected, 1 the edge of the band. Ten series with the largest scores.",
                (Target(f"topk({_LOUDEST}, max by ({', '.join(_SERIES)}) (aiops_anomaly_score{{{shown}}}))",
                        _SERIES_NAME),),
                width=12,
            ),
            Panel(
                "Votes",
                "Largest score by detector.",
                (Target(f"max by (detector) (aiops_anomaly_vote{{{shown}}})", "{{detector}}"),),
                width=6,
            ),
            Panel(
                "Series that are learnt",
                "Series that are not judged yet, and (dashed) those whose band rests on their own history.",
                (
                    Target(f"count(aiops_anomaly_learning{{{shown}}} == 1) or vector(0)", "learning"),
                    Target(f"sum(aiops_anomaly_confidence{{{shown}}} > bool 0.5)", "own history", line=True),
                ),
                width=6,
            ),
            Panel(
                "Width of the bands",
                "Upper edge over the lower one, in units of what is expected, of the ten widest series.",
                (
                    Target(
                        f"topk({_LOUDEST}, (aiops_anomaly_upper{{{shown}}} - aiops_anomaly_lower{{{shown}}})"
                        f" / (abs(aiops_anomaly_expected{{{shown}}}) > 0))",
                        _SERIES_NAME,
                    ),
                ),
                axis="times",
                width=24,
            ),
        ),
        folded=True,
    )  # fmt: skip


def trust() -> Row:
    """Asked and spent: the budget of false alerts, and what people say."""
    said = legend(("detector", "judgement"))
    return Row(
        "Budget of false alerts",
        (
            Panel(
                "Statistical alerts a week",
                "Statistical alerts of the last week, true ones too, and (dashed) the false ones that were asked for.",
                (
                    Target(f"max({own('aiops_alert_budget_fired_per_week')})", "fired"),
                    Target(f"max({own('aiops_alert_budget_asked_per_week')})", "asked", line=True),
                ),
                axis="a week",
                width=6,
            ),
            Panel(
                "Statistical alerts",
                "Statistical alerts that began within the step, and series whose band the budget sets.",
                (
                    Target(f"increase({own('aiops_alert_budget_fired_total')}[{RATE}])", "began"),
                    Target(own("aiops_alert_budget_series"), "series by budget", line=True),
                ),
                width=6,
            ),
            Panel("Precision", "Share of the alerts that people judged and called true, by detector.",
                  (Target(f"max by (detector) ({own('aiops_detector_precision_ratio')})", "{{detector}}"),),
                  "percentunit", width=6, top=1),
            Panel(
                "What people say",
                "Alerts that people judged within 90 days, and thresholds that are wider because of it.",
                (
                    Target(f"max by (detector, judgement) ({own('aiops_feedback_alerts')})", said),
                    Target(f"max({own('aiops_feedback_widened_thresholds')})", "thresholds widened", line=True),
                ),
                width=6,
            ),
        ),
        folded=True,
    )  # fmt: skip


def words() -> Row:
    """The language model: what it was asked, what of it was true, what it cost."""
    result = "{{result}}"
    return Row(
        "Words of the language model",
        (
            Panel(
                "Calls",
                "Calls to the language model, those without a usable answer, and questions not asked.",
                (
                    Target(rate("aiops_llm_calls_total"), "calls"),
                    Target(rate("aiops_llm_failures_total"), "failures"),
                    Target(rate("aiops_llm_refused_total"), "not asked"),
                ),
                "eps",
                width=6,
            ),
            Panel(
                "Sentences",
                "Sentences by what became of them; what is not shown to be true is dropped.",
                (Target(f"sum by (result) ({rate('aiops_explain_sentences_total')})", result),),
                "eps",
                width=6,
            ),
            Panel(
                "Incidents",
                "Answers that were checked, incidents not worded, and incidents that wait.",
                (
                    Target(rate("aiops_explain_worded_total"), "checked a second"),
                    Target(rate("aiops_explain_dropped_total"), "queue full, a second"),
                    Target(rate("aiops_explain_duplicates_total"), "told before, a second"),
                    Target(own("aiops_explain_queue_length"), "waiting", line=True),
                ),
                width=6,
            ),
            Panel(
                "Cost",
                "Tokens within the step, and (dashed) what they cost in USD by the prices of the configuration.",
                (
                    Target(f"increase({own('aiops_llm_tokens_total')}[{RATE}])", "tokens"),
                    Target(f"increase({own('aiops_llm_cost_usd_total')}[{RATE}])", "USD", line=True),
                ),
                width=6,
            ),
        ),
        folded=True,
    )


def inbound() -> Row:
    """Alerts that others send here."""
    return Row(
        "Alerts of others",
        (
            Panel(
                "Taken in",
                "Alerts of others that began or ended, ours that came back, and batches that were refused.",
                (
                    Target(rate("aiops_inbound_alerts_total"), "taken"),
                    Target(rate("aiops_inbound_own_alerts_total"), "ours, left out"),
                    Target(rate("aiops_inbound_refused_batches_total"), "batches refused"),
                ),
                "eps",
                width=12,
            ),
            Panel("Standing", "Alerts of others that are kept now.",
                  (Target(own("aiops_inbound_alerts_standing"), "{{instance}}"),), width=12),
        ),
        folded=True,
    )  # fmt: skip
