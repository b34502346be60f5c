"""What people say about alerts comes in here: as JSON from programs, through signed links from people.

``GET`` of a link only shows what could be said: whoever follows links by itself (mail scanners, previews) changes
nothing. A link is worth one opinion, needs no password, and expires.
"""

from html import escape
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import ValidationError

from aiops.web import page
from aiops.web.access import Role
from aiops.web.api import SOURCE, Call, Route, said
from aiops.web.asked import ById, Judged, Nothing, Opinion
from aiops.web.records_told import AskedRecord, OpinionRecords, SaidRecords
from aiops.web.source import Refused, Saying

FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 10
_CHOICES = (
    ("true", "It was right: something was wrong."),
    ("false", "It was a false alarm."),
    ("expected", "It was expected: planned, or known to happen at this time of the day."),
)


async def _list(call: Call[Nothing]) -> OpinionRecords:
    """Newest first. `effects` says what follows now, in sentences; `undoneAt` is null while it stands. `detectors` is
    the precision of each detector over what was judged within 90 days; null before anything was.
    """
    return call.source.opinions()


async def _say(call: Call[Judged]) -> SaidRecords:
    """Either `alert` or `incident` is needed. The answer holds what was kept, as in the list.

    * **false** widens the threshold of that statistical rule for alike entities of the same job or pool: the first by a
      third, the third by all of what the highest false score asks for, never more than 4 times.
    * **true** counts for the detectors, and no threshold widens so far that this alarm would not come again.
    * **expected** is neither; for 28 days the rule is told only beyond 4 times its threshold at that time of the day.
    * A cause that was right or wrong at least three times moves in the ranking of causes, at most by a factor of 2.

    Deterministic rules and error budgets do not listen: feedback on them is counted and changes nothing.
    """
    asked = call.asked
    saying = _saying(asked, by="api")
    return {"feedback": await call.source.say(asked.alert, asked.incident, saying)}


async def _undo(call: Call[ById]) -> SaidRecords:
    """Again is no error."""
    return {"feedback": [call.source.undo(call.asked.id)]}


async def _ask(request: web.Request) -> web.Response:
    asked = request.app[SOURCE].asked(request.match_info["token"])
    return _answer(_question(asked), 200)


async def _tell(request: web.Request) -> web.Response:
    try:
        opinion = Opinion.model_validate(await _form(request))
    except ValidationError as error:
        raise Refused(400, said(error)) from None
    kept = await request.app[SOURCE].say_by_link(request.match_info["token"], _saying(opinion, by="link"))
    lines = "".join(f"<li>{escape(line)}</li>" for line in kept["effects"])
    undo = f"<p>To take it back: <code>aiops feedback undo {escape(kept['id'])}</code></p>"
    return _answer(page.frame("aiops feedback", f"<h1>Thank you</h1><ul>{lines}</ul>{undo}", up="../"), 200)


async def _form(request: web.Request) -> dict[str, str]:
    """Fields of the form as our page sends it; whoever has a link may send anything, in any charset."""
    if request.content_type != FORM:
        raise Refused(415, f"the body is {request.content_type}; expected {FORM}")
    body = (await request.read()).decode("utf-8", "replace")
    try:
        return dict(parse_qsl(body, keep_blank_values=True, max_num_fields=_MOST_FIELDS))
    except ValueError:
        raise Refused(400, f"the form has more than {_MOST_FIELDS} fields") from None


def _saying(opinion: Opinion, *, by: str) -> Saying:
    return Saying(str(opinion.judgement), opinion.cause, opinion.note, by)


def _question(asked: AskedRecord) -> str:
    choices = "".join(
        f'<p><label><input type="radio" name="judgement" value="{value}" required> {escape(text)}</label></p>'
        for value, text in _CHOICES
    )
    body = (
        f"<h1>{escape(asked['summary'])}</h1>"
        f"<p>{escape(asked['alert'])}: {escape(asked['series'])}, "
        f"since {escape(str(asked['startsAt']))}. What was it?</p>"
        f'<form method="post">{choices}'
        '<p><label>What was the cause? <input name="cause" maxlength="200"></label></p>'
        '<p><label>A note: <input name="note" maxlength="1000" size="60"></label></p>'
        "<p><button>Say it</button></p></form>"
    )
    return page.frame("aiops feedback", body, up="../")


def _answer(text: str, status: int) -> web.Response:
    response = web.Response(text=text, status=status, content_type="text/html")
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    response.headers["Referrer-Policy"] = "same-origin"  # without a referrer, a form's origin would be "null"
    return response


_UNKNOWN = {404: "there is no such alert, incident or opinion, or it is forgotten by now"}
_SPENT = {404: "the link was not made here, or its alert is forgotten by now",
          410: "the link is too old or was used before"}  # fmt: skip
ROUTES = (
    Route("GET", "/api/v1/feedback", _list, "what people said about alerts, and what followed"),
    Route("POST", "/api/v1/feedback", _say, "says what an alert or every alert of an incident was", Role.FEEDBACK,
          refusals=_UNKNOWN),
    Route("POST", "/api/v1/feedback/{id}/undo", _undo, "takes one back", Role.FEEDBACK, refusals=_UNKNOWN),
    Route("GET", "/feedback/{token}", _ask,
          "asks a person what an alert was; looking changes nothing. Alerts carry the link as `feedback_url`",
          Role.NOBODY, refusals=_SPENT, content=("text/html",)),
    Route("POST", "/feedback/{token}", _tell,
          "the answer, without a password; once per link, for 14 days after the start of the alert",
          Role.NOBODY, refusals={**_SPENT, 415: "the body is no form"}, content=("text/html",),
          takes=FORM, body=Opinion),
)  # fmt: skip
