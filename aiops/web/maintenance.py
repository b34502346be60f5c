"""What is planned comes in here: maintenance windows of one time, and deploys."""

from aiops.web.access import Role
from aiops.web.api import Call, Route
from aiops.web.asked import ById, Change, Nothing, Plan
from aiops.web.records_told import MarkRecords, WindowRecords


async def _list(call: Call[Nothing]) -> WindowRecords:
    """Windows of the section `maintenance` (the present occurrence or the next one; `id` is empty) and those of one
    time. `state` is `active`, `planned` or `over`.
    """
    return {"windows": call.source.maintenance()}


async def _begin(call: Call[Plan]) -> WindowRecords:
    """The role is `admin` because it keeps alerts from people. The answer has the window as in the list."""
    return {"windows": [call.source.begin_maintenance(call.asked, call.who)]}


async def _end(call: Call[ById]) -> WindowRecords:
    """Ends a window of one time now."""
    return {"windows": [call.source.end_maintenance(call.asked.id)]}


async def _mark(call: Call[Change]) -> MarkRecords:
    """The pools that match are marked, or where none does the replicas, targets, nodes or GPUs. Their statistics learn
    anew, alerts below `critical` wait for `deploy_grace` of the section `maintenance`, and alerts that begin within
    `deploy_memory` say so.
    """
    return {"marks": call.source.mark(call.asked)}


_MANY = {503: "there are 1000 windows already"}
_NO_WINDOW = {404: "there is no such window of one time, or it is over"}
_NOTHING = {404: "nothing matches", 503: "too many deploys wait for the next tick"}
ROUTES = (
    Route("GET", "/api/v1/maintenance", _list, "maintenance windows that are on or will come"),
    Route("POST", "/api/v1/maintenance", _begin, "plans a window of one time", Role.ADMIN, refusals=_MANY),
    Route("POST", "/api/v1/maintenance/{id}/end", _end, "ends one", Role.ADMIN, refusals=_NO_WINDOW),
    Route("POST", "/api/v1/marks", _mark, "notes a deploy", Role.FEEDBACK, refusals=_NOTHING),
)
