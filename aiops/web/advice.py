"""Routes about replica advice: for people in the list, for autoscalers one pool without the envelope."""

from aiops.web.api import Call, Route
from aiops.web.asked import Nothing, PoolAsked
from aiops.web.records_advice import AdviceRecord, AdviceRecords
from aiops.web.source import Refused


async def _recommendations(call: Call[Nothing]) -> AdviceRecords:
    """Also the pools on which there is no advice, with the reason. Units stand in the names. `desired_replicas` is null
    while `abstained` is true.

    `model` decided: the transient birth–death process, or the `twin` that follows every request through replicas with
    queues of their own, where that explains the waits of the last hour clearly better. `model_errors` has the factor by
    which each missed them, also of the formulas that decide nothing; above `abstain_error` of the one that decides
    there is no advice.

    `constraint` is one of `none`, `slots`, `kv`, `compute`, `prefill`, `gateway_queue`, `throttled_gpus`,
    `stuck_replica`, `replica_imbalance`. Where `relieved_by_replicas` is false, growth is advised only as far as the
    load needs it on evenly filled replicas; `reason` then names the limit, and `held` the number of the model alone.
    `curve` has the share of requests expected in time for each number of replicas, and its band over the drawn futures.
    `mmc_floor_replicas` is what a calm, memoryless load of the same size would need.
    """
    return {"recommendations": call.source.recommendations()}


async def _recommendation(call: Call[PoolAsked]) -> AdviceRecord:
    """The same record of one pool **without the envelope**, so that an autoscaler finds `desired_replicas` at the top
    level (KEDA: `valueLocation: desired_replicas`). While there is no advice, or only advice older than
    `capacity.stale_after`, the answer is 503 with the reason; it is never 0 and never null, since KEDA would scale to
    nothing. Ready examples: `deploy/examples/`.
    """
    record, problem = call.source.recommendation(call.asked.pool)
    if record is None:
        raise Refused(404, problem)
    if problem:
        raise Refused(503, problem)
    return record


_REFUSALS = {404: "there is no such pool", 503: "there is no advice, or it is too old"}
ROUTES = (
    Route("GET", "/api/v1/recommendations", _recommendations, "advice on the replicas of every pool"),
    Route("GET", "/api/v1/recommendations/{pool:.+}", _recommendation,
          "advice on one pool for autoscalers, without the envelope", refusals=_REFUSALS, envelope=False),
)  # fmt: skip
