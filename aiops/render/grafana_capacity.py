"""How much there is, how much is used, and how far the wall is."""

from dataclasses import replace

from aiops.render.grafana import RATE, Board, Look, Panel, Row, Target
from aiops.render.grafana_own import (
    OWN,
    POOL,
    REPLICA,
    VARIABLES,
    WATCHED,
    legend,
    own,
    rate,
    series,
    signal_panel,
    total,
)

_SERVICE = ("exported_job", "pool", "model_name")
_NAME = legend(_SERVICE)
_MODEL = "{{model_name}}"


def capacity() -> Board:
    """Capacity of pools and replicas."""
    return Board(
        uid="aiops-capacity",
        title="aiops / capacity",
        about="How much there is, how much is used, and how far the wall is.",
        source=OWN,
        variables=VARIABLES,
        rows=(_advice(), _trust(), _load(), _slots(), _memory(), _replicas(), _money()),
    )


def _of_pool(metric: str, *more: str) -> str:
    where = f'{WATCHED}, model_name=~"$model"'
    return f"max by ({', '.join((*_SERVICE, *more))}) ({metric}{{{where}}})"


def _advice() -> Row:
    return Row(
        "Advice",
        (
            Panel(
                "Recommended and actual replicas",
                "Replicas to have, and (dashed) those that exist. Where the first line is missing there is no advice.",
                (
                    Target(_of_pool("aiops_recommended_replicas"), f"{_NAME} recommended"),
                    Target(_of_pool("aiops_current_replicas"), f"{_NAME} actual", line=True),
                ),
                axis="replicas",
                width=12,
            ),
            Panel(
                "Requests in time",
                "Share of requests that are expected in time with the replicas of now.",
                (Target(_of_pool("aiops_slo_probability"), _NAME),),
                "percentunit",
                width=6,
                top=1,
            ),
            Panel(
                "Recommended over actual",
                "What an autoscaler multiplies by: above 1 there are too few replicas.",
                (Target(_of_pool("aiops_replica_ratio"), _NAME),),
                width=6,
            ),
            Panel(
                "What limits the pool",
                "The resource that is used up first.",
                (Target(_of_pool("aiops_binding_constraint_info", "constraint"), f"{_NAME} {{{{constraint}}}}"),),
                look=Look.STACK,
                top=1,
            ),
            Panel(
                "Time until the KV cache is full",
                "By the trend of now; missing where it is not surely filling up.",
                (Target(_of_pool("aiops_kv_exhaustion_seconds"), _NAME),
                 Target(_of_pool("aiops_kv_exhaustion_soonest_seconds"), _NAME + " at the earliest")),
                "s",
            ),
            Panel(
                "Time until memory or disk is used up",
                "By the trend of now; missing where it is not surely running out.",
                tuple(
                    Target(f"min by (node, gpu, exported_instance, signal) ({own(name)})",
                           legend(("node", "gpu", "exported_instance", "signal")) + more)
                    for name, more in (("aiops_exhaustion_seconds", ""),
                                       ("aiops_exhaustion_soonest_seconds", " at the earliest"))
                ),
                "s",
            ),
        ),
    )  # fmt: skip


def _trust() -> Row:
    return Row(
        "Can it be trusted",
        (
            Panel("No advice", "1 while there is no advice for the pool.",
                  (Target(_of_pool("aiops_capacity_abstained"), _NAME),), "bool_on_off", width=6, top=1),
            Panel("Error of the model", "Factor by which the model missed the waits of the last hour. 1 is perfect.",
                  (Target(_of_pool("aiops_capacity_model_error_ratio"), _NAME),), width=6, axis="times"),
            Panel(
                "Error of the chance",
                "Mean distance between the share of requests in time that was promised and what came.",
                (Target(_of_pool("aiops_recommendation_error_ratio"), _NAME),),
                "percentunit",
                width=6,
            ),
            Panel(
                "Models that compete",
                "Factor by which each model missed the waits of an hour; the smallest decides.",
                (Target(_of_pool("aiops_capacity_backtest_error_ratio", "model"), f"{_NAME} {{{{model}}}}"),),
                axis="times",
                width=6,
            ),
            Panel(
                "Model that decides",
                "Which model the advice of each pool rests on.",
                (Target(_of_pool("aiops_capacity_model_info", "model"), f"{_NAME} {{{{model}}}}"),),
                look=Look.TABLE,
                width=6,
            ),
            Panel(
                "Changes of replicas",
                "Changes that the actuator made, by how they ended, and (dashed) whether this daemon may make any.",
                (
                    Target(f"sum by (pool, outcome) (increase({own('aiops_actuations_total')}[{RATE}]))",
                           "{{pool}} {{outcome}}"),
                    Target(f"max({own('aiops_actuator_leader')})", "leads", line=True),
                ),
                width=6,
            ),
            Panel(
                "What became of advice",
                "Recommendations by what was done with them, and steps of the planner by how they ended.",
                (
                    Target(f"sum by (outcome) (increase({own('aiops_recommendation_outcomes_total')}[{RATE}]))",
                           "advice {{outcome}}"),
                    Target(f"sum by (outcome) ({rate('aiops_capacity_steps_total')})", "steps a second {{outcome}}"),
                ),
                width=6,
            ),
        ),
        folded=True,
    )  # fmt: skip


def _load() -> Row:
    return Row(
        "Load",
        (
            Panel(
                "Arrivals and ends",
                "Requests that arrive and that leave. As long as more arrive than leave, the queue grows without end.",
                (
                    Target(total("arrivals"), f"{_MODEL} arrive"),
                    Target(total("finished"), f"{_MODEL} leave", line=True),
                ),
                "reqps",
            ),
            Panel(
                "Time to drain the queue",
                "Waiting requests over the rate at which requests leave: how long the last one waits.",
                (Target(f"{total('queue_len')} / ({total('finished')} > 0)", _MODEL),),
                "s",
                limits=(10, 60),
            ),
            Panel(
                "Work of a request",
                "Tokens generated for each request that leaves. More work at the same arrivals needs more replicas.",
                (Target(f"{total('tokens_out')} / ({total('finished')} > 0)", _MODEL),),
                axis="tokens",
            ),
        ),
    )


def _slots() -> Row:
    free = f"sum by (model_name) (clamp_min({series('max_running')} - {series('running')}, 0))"
    return Row(
        "Slots",
        (
            Panel(
                "Running, of what can run",
                "Requests that run, and the most that can run at once (the plateau), by model.",
                (
                    Target(total("running"), f"{_MODEL} running"),
                    Target(total("max_running"), f"{_MODEL} plateau", line=True),
                ),
            ),
            Panel("Free slots", "Requests that could start at once.", (Target(free, _MODEL),)),
            Panel(
                "Slots in use",
                "Running requests as a share of the plateau. Waits grow steeply above 80 to 90 %.",
                (Target(f"{series('running')} / ({series('max_running')} > 0)", legend(REPLICA)),),
                "percentunit",
                limits=(0.8, 0.95),
            ),
        ),
    )


def _memory() -> Row:
    tokens = Panel(
        "KV cache, tokens in use",
        "Tokens in the KV cache, and the tokens that it holds, by model.",
        (
            Target(f"sum by (model_name) ({series('kv_use')} * {series('kv_capacity')})", f"{_MODEL} in use"),
            Target(total("kv_capacity"), f"{_MODEL} all", line=True),
        ),
        axis="tokens",
    )
    return Row(
        "Memory and speed",
        (
            replace(signal_panel("kv_use", "KV cache in use"), limits=(0.9, 0.97)),
            tokens,
            Panel(
                "Tokens out of a replica",
                "Tokens generated by each replica. Where it stays flat while the batch grows, the knee is reached.",
                (Target(series("tokens_out"), legend(REPLICA)),),
                axis="tokens/s",
            ),
        ),
    )


def _replicas() -> Row:
    count = f"count by (model_name) ({series('running')})"
    return Row(
        "Replicas",
        (
            Panel("Replicas that serve", "Replicas whose page shows a running batch, 0 included.",
                  (Target(count, _MODEL),)),
            Panel(
                "Able, existing and asked for",
                "From Kubernetes, Ray Serve or a gateway: replicas able to serve, that exist, that somebody asked for.",
                (
                    Target(series("ready", labels=POOL), f"{legend(POOL)} able"),
                    Target(series("replicas", labels=POOL), f"{legend(POOL)} exist"),
                    Target(series("replicas_desired", labels=POOL), f"{legend(POOL)} asked for", line=True),
                ),
            ),
            signal_panel("cold_start", "Start of a replica, mean", "mean",
                         note="As long as it takes, arrivals must be borne by what is there."),
        ),
    )  # fmt: skip


def _money() -> Row:
    return Row(
        "Money",
        (
            replace(signal_panel("budget_burn", "Spent", labels=POOL), look=Look.STACK, width=12),
            Panel("Prompt tokens from a cache", "Share of prompt tokens that cost no prefill, by model.",
                  (Target(f"{total('tokens_cached')} / ({total('tokens_in')} > 0)", _MODEL),), "percentunit",
                  width=12, top=1),
        ),
        folded=True,
    )  # fmt: skip
