"""``aiops describe``: one thing in full, in words."""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from urllib.parse import quote, urlencode

from aiops.app.commands.client import Record, entity_text, records
from aiops.app.output import Exit, Output, show, tell


def alert(args: Namespace) -> int:
    """``aiops describe alert``."""
    query = f"?{urlencode({'entity': args.entity})}" if args.entity else ""
    found = records(args, f"alerts/{quote(args.name, safe='')}{query}", "explanations")
    if args.output in (Output.JSON, Output.YAML):
        show(found, (), (), output=args.output, headers=args.headers)
    else:
        for index, one in enumerate(found):
            tell([*([""] if index else []), *_lines(one)])
    return Exit.OK


def _lines(one: Record) -> Iterator[str]:
    yield f"{one.get('rule')}: {str(one.get('series')).partition(' of ')[0]} of {entity_text(one.get('entity'))}"
    yield f"  {one.get('state')}; {one.get('why')}"
    seen = one.get("seen")
    for part in _listed(seen, "parts"):
        holds = {True: "holds", False: "does not hold", None: "unknown"}[_truth(part.get("holds"))]
        yield f"  {holds}: {part.get('condition')}"
    values = seen.get("values") if isinstance(seen, Mapping) else None
    for name, value in (values if isinstance(values, Mapping) else {}).items():
        yield f"  {name} = {'unknown' if value is None else f'{value:.6g}'}"
    yield f"  damping: {one.get('damping')}; fires at {one.get('fires')}, resolves at {one.get('resolves')}"
    for look_alike in one.get("lookAlikes") or ():
        yield f"  looks the same: {look_alike}"
    for move in _listed(one, "transitions"):
        yield f"  {move.get('at')}  {move.get('from')} -> {move.get('to')}: {move.get('reason')}"


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _listed(record: object, name: str) -> list[Record]:
    found = record.get(name) if isinstance(record, Mapping) else None
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
