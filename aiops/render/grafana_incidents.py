"""What is wrong, since when, and whether people were told."""

from aiops.render.grafana import RATE, Board, Look, Panel, Row, Target
from aiops.render.grafana_own import OWN, VARIABLES, number, own, rate
from aiops.render.grafana_scores import anomalies, error_budgets, inbound, trust

_STATES = ("critical", "warning", "info")
_PACK = 'alertname=~"(LLM|GPU|Host|AIOps).+", alertname!="AIOpsHeartbeat"'


def incidents() -> Board:
    """Incidents and alerts."""
    return Board(
        uid="aiops-incidents",
        title="aiops / incidents and alerts",
        about="What is wrong, since when, and whether people were told. Causes are told by the page of aiops.",
        source=OWN,
        variables=VARIABLES,
        rows=(_now(), error_budgets(), _time(), anomalies(), trust(), _rules(), _told(), inbound()),
    )


def _firing(severity: str) -> str:
    alerts = own("aiops_alerts", f'state="firing", severity="{severity}"')
    return f"max({alerts})"


def _now() -> Row:
    pending = own("aiops_alerts", 'state="pending"')
    return Row(
        "Now",
        (
            number("Incidents", "Incidents that are not over.", f"max({own('aiops_incidents_open')})", limits=(1, 3)),
            *(
                number(
                    f"Firing, {severity}", f"Alerts of aiops that fire, {severity}.", _firing(severity), limits=limits
                )
                for severity, limits in zip(_STATES, ((0.5, 1), (1, 5), (5, 20)), strict=True)
            ),
            number(
                "Pending",
                "Alerts of aiops that have not held long enough yet.",
                f"sum(max by (severity) ({pending}))",
            ),
            number(
                "Notices lost",
                "Notices that were given up, refused or not valid within the chosen time.",
                " + ".join(
                    f"(sum(increase({own(f'aiops_notifications_{what}_total')}[$__range])) or vector(0))"
                    for what in ("dropped", "refused", "invalid")
                ),
                limits=(1, 10),
            ),
        ),
    )


def _time() -> Row:
    alerts = f"max by (state, severity) ({own('aiops_alerts')})"
    return Row(
        "Over time",
        (
            Panel("Alerts of aiops", "Alerts by state and severity.",
                  (Target(alerts, "{{severity}} {{state}}"),), look=Look.STACK, width=12),
            Panel("Open incidents", "Incidents that are not over, and (dashed) alerts that are held back.",
                  (
                      Target(f"max by (instance) ({own('aiops_incidents_open')})", "{{instance}}"),
                      Target(f"max by (instance) ({own('aiops_alerts_muted')})", "{{instance}} held back", line=True),
                  ), width=6),
            Panel("Changes", "Changes of the state of an alert. Many of them say that an alert flaps.",
                  (Target(rate("aiops_alert_transitions_total"), "{{instance}}"),), "eps", width=6),
        ),
    )  # fmt: skip


def _rules() -> Row:
    labels = "alertname, severity, job, instance, model_name"
    return Row(
        "Alerts of the rule pack",
        (
            Panel(
                "Fire now",
                "Alerts that Prometheus raises by the rule pack, independent of the daemon.",
                (Target(f'sum by ({labels}) (ALERTS{{alertstate="firing", {_PACK}}})', "{{alertname}}"),),
                look=Look.TABLE,
                width=12,
            ),
            Panel(
                "How many fire",
                "Alerts of the rule pack that fire, by name.",
                (Target(f'count by (alertname) (ALERTS{{alertstate="firing", {_PACK}}})', "{{alertname}}"),),
                look=Look.STACK,
                width=12,
            ),
        ),
    )


def _told() -> Row:
    receiver = "{{receiver}}"
    return Row(
        "People are told",
        (
            Panel(
                "Notices",
                "Notices that receivers took, those that are lost, and those that were not news or not severe enough.",
                tuple(
                    Target(rate(f"aiops_notifications_{what}_total"), f"{receiver} {what}")
                    for what in ("sent", "dropped", "refused", "invalid", "deduped", "muted")
                ),
                "eps",
                width=12,
            ),
            Panel(
                "Calls that fail",
                "Calls of receivers that failed within the step; they are tried again.",
                (Target(f"increase({own('aiops_notification_errors_total')}[{RATE}])", receiver),),
                width=12,
            ),
        ),
    )
