"""``aiops ask``: a question to a running daemon."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from aiops.app.commands.client import answer_of
from aiops.app.output import CommandFailedError, Exit, Output, show, tell


def ask(args: Namespace) -> int:
    """Print the sentences of the answer, what they cite, and the query that was understood."""
    data = answer_of(args, f"/api/v1/ask?q={quote(' '.join(args.question))}")
    if args.output in (Output.JSON, Output.YAML):
        show(data, [], [], output=args.output, headers=args.headers)
        return Exit.OK
    sentences, sources = data.get("sentences"), data.get("sources")
    if not isinstance(sentences, list) or not isinstance(sources, list):
        raise CommandFailedError("the daemon answers, but not with sentences and sources; is it another version?")
    lines = [_text(one, "text") for one in sentences]
    lines += ["", f"query: {_text(data, 'query')}"]
    lines += [f"{_text(one, 'id')}: {_text(one, 'what')}  ({_text(one, 'lookUp')})" for one in sources]
    tell(lines)
    return Exit.OK


def _text(record: Mapping[str, Any], name: str) -> str:
    return str(record.get(name, "")) if isinstance(record, Mapping) else ""
