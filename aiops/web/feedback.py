"""What people say about alerts comes in here: as JSON from programs, through signed links from people.

``GET`` of a link only shows what could be said: whoever follows links by itself (mail scanners, previews) changes
nothing. A link is worth one opinion, needs no password, and expires.
"""

from collections.abc import Mapping
from html import escape

from aiohttp import web

from aiops.web import api, page
from aiops.web.source import Record, Refused, Saying

LINKS = "/feedback/"
"""Below it, the token of a link is the proof."""
_FIELDS = {"alert": str, "incident": str, "judgement": str, "cause": str, "note": str}
_LONGEST_TEXT = 1000
_CHOICES = (
    ("true", "It was right: something was wrong."),
    ("false", "It was a false alarm."),
    ("expected", "It was expected: planned, or known to happen at this time of the day."),
)


async def _list(request: web.Request) -> web.Response:
    return api.success(dict(request.app[api.SOURCE].opinions()))


async def _say(request: web.Request) -> web.Response:
    body = await api.json_object(request)
    wrong = [name for name, value in body.items() if not isinstance(value, _FIELDS.get(name, type(None)))]
    if wrong:
        raise Refused(400, f"{wrong[0]!r} is unknown or no text; expected {', '.join(_FIELDS)}")
    texts = {name: str(value) for name, value in body.items()}
    if ("alert" in texts) == ("incident" in texts):
        raise Refused(400, "expected exactly one of 'alert' (a fingerprint) and 'incident' (an id)")
    saying = _saying(texts, by="api")
    said = await request.app[api.SOURCE].say(texts.get("alert", ""), texts.get("incident", ""), saying)
    return api.success({"feedback": list(said)})


async def _undo(request: web.Request) -> web.Response:
    undone = request.app[api.SOURCE].undo(request.match_info["id"])
    return api.success({"feedback": [dict(undone)]})


async def _ask(request: web.Request) -> web.Response:
    asked = request.app[api.SOURCE].asked(request.match_info["token"])
    return _answer(_question(asked), 200)


async def _tell(request: web.Request) -> web.Response:
    form = await request.post()
    saying = _saying({name: value for name, value in form.items() if isinstance(value, str)}, by="link")
    said = await request.app[api.SOURCE].say_by_link(request.match_info["token"], saying)
    effects = said.get("effects")
    lines = "".join(f"<li>{escape(str(line))}</li>" for line in (effects if isinstance(effects, list) else ()))
    undo = f"<p>To take it back: <code>aiops feedback undo {escape(str(said.get('id')))}</code></p>"
    return _answer(page.frame("aiops feedback", f"<h1>Thank you</h1><ul>{lines}</ul>{undo}", up="../"), 200)


def _saying(texts: Mapping[str, str], *, by: str) -> Saying:
    long = [name for name, text in texts.items() if len(text) > _LONGEST_TEXT]
    if long:
        raise Refused(400, f"{long[0]!r} is longer than {_LONGEST_TEXT} characters")
    known = [value for value, _ in _CHOICES]
    judgement = texts.get("judgement", "")
    if judgement not in known:
        raise Refused(400, f"'judgement' is {judgement!r}; expected one of {', '.join(known)}")
    return Saying(judgement, texts.get("cause", "").strip(), texts.get("note", "").strip(), by)


def _question(asked: Record) -> str:
    choices = "".join(
        f'<p><label><input type="radio" name="judgement" value="{value}" required> {escape(text)}</label></p>'
        for value, text in _CHOICES
    )
    body = (
        f"<h1>{escape(str(asked.get('summary')))}</h1>"
        f"<p>{escape(str(asked.get('alert')))}: {escape(str(asked.get('series')))}, "
        f"since {escape(str(asked.get('startsAt')))}. What was it?</p>"
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


def routes() -> list[web.RouteDef]:
    """Every route of this module."""
    return [
        web.get("/api/v1/feedback", _list),
        web.post("/api/v1/feedback", _say),
        web.post("/api/v1/feedback/{id}/undo", _undo),
        web.get("/feedback/{token}", _ask),
        web.post("/feedback/{token}", _tell),
    ]
