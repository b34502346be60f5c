"""``aiops incident``: one incident of the daemon, told or exported."""

from argparse import Namespace
from typing import Any
from urllib.parse import quote

from aiops.app.commands.client import Record, answer_of, entity_text
from aiops.app.output import Column, CommandFailedError, Exit, Output, show, tell
from aiops.app.rca_export import FILES
from aiops.app.rca_export import write as write_case


def show_incident(args: Namespace) -> int:
    """``aiops incident show``."""
    incident = answer_of(args, f"/api/v1/incidents/{quote(args.id, safe='')}").get("incident")
    if not isinstance(incident, dict):
        raise CommandFailedError("the daemon's answer holds no incident")
    if args.output in (Output.TABLE, Output.WIDE):
        tell(_lines(incident))
    evidence = (incident.get("diagnosis") or {}).get("evidence") or []
    rows = [[str(one.get("id", "")), _fact(one), str(one.get("query", ""))] for one in evidence]
    columns = [Column("EVIDENCE"), Column("FACT", wraps=True), Column("QUERY", wide=True)]
    show(incident, columns, rows, output=args.output, headers=args.headers)
    return Exit.OK


def _fact(one: Record) -> str:
    """The text with the entity in words, which a terminal can break between two of them."""
    entity = (one.get("series") or {}).get("entity") or {}
    labels = ",".join(f'{name}="{value}"' for name, value in (entity.get("labels") or {}).items())
    return str(one.get("text", "")).replace(f"{entity.get('kind')}{{{labels}}}", entity_text(entity))


def _lines(incident: dict[str, Any]) -> list[str]:
    """The summary, a line per part."""
    parts: dict[str, list[str]] = {}
    for sentence in (incident.get("summary") or {}).get("sentences") or []:
        parts.setdefault(str(sentence.get("part")), []).append(str(sentence.get("text")))
    return [*(" ".join(texts) for texts in parts.values()), ""]


def export(args: Namespace) -> int:
    """``aiops incident export``."""
    files = answer_of(args, f"/api/v1/incidents/{quote(args.id, safe='')}/case").get("files")
    if not isinstance(files, dict) or not all(isinstance(files.get(name), str) for name in FILES):
        raise CommandFailedError(f"the daemon's answer lacks one of {', '.join(FILES)}")
    write_case({name: str(files[name]) for name in FILES}, args.folder)
    return Exit.OK
