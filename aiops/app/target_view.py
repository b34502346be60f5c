"""What a target said last and what could be read from it, and what relabelling makes of one, as plain records."""

from collections.abc import Mapping, Sequence
from functools import cache
from textwrap import indent

from pydantic import TypeAdapter, ValidationError

from aiops.app.config_file import parse
from aiops.app.presets import dependents
from aiops.collect.relabel import Dropped, RelabelRule, relabel
from aiops.collect.scrape import SHOWN_BYTES, Scraper
from aiops.collect.settings import JobSettings
from aiops.signals.doctor import examine, to_dict
from aiops.signals.profile import Profile
from aiops.web.records_fleet import JobRecords, PageRecord, RelabelRecord, RelabelStep
from aiops.web.source import Refused

_RULES = TypeAdapter(tuple[RelabelRule, ...])
_dependents = cache(dependents)


def page_record(scraper: Scraper, profiles: Sequence[Profile]) -> PageRecord:
    """The beginning of the last answer (untrusted text), and of the last good page which signals it has."""
    target, page = scraper.target, scraper.page
    report = None
    if page is not None:
        report = to_dict(examine(profiles, page, target=target.labels, dependents=_dependents()))
    return {
        "source": target.source,
        "url": target.url,
        "text": scraper.last_page.decode("utf-8", "replace"),
        "cut": len(scraper.last_page) >= SHOWN_BYTES,
        "report": report,
    }


def relabel_record(jobs: Sequence[JobSettings], job: str, labels: Mapping[str, str]) -> JobRecords | RelabelRecord:
    """What each rule of a job makes of a target with these labels; without a job, which there are.

    Raises
    ------
    Refused
        When there is no such job, or a value is longer than its expression may see.
    """
    if not job:
        return {"jobs": [{"name": one.name, "rules": len(one.relabel)} for one in jobs]}
    found = next((one for one in jobs if one.name == job), None)
    if found is None:
        raise Refused(404, f"there is no job {job!r}; there are {', '.join(one.name for one in jobs) or 'none'}")
    return _walked(job, found.relabel, labels)


def rules_record(rules: str, labels: Mapping[str, str]) -> RelabelRecord:
    """The same with rules as they stand in a configuration; what is wrong with them is an answer too.

    Raises
    ------
    Refused
        When a value is longer than its expression may see.
    """
    try:
        return _walked("", rules_of(rules), labels)
    except ValueError as error:
        return {"job": "", "error": str(error), "keep": False, "labels": {}, "steps": []}


def _walked(job: str, rules: Sequence[RelabelRule], labels: Mapping[str, str]) -> RelabelRecord:
    steps: list[RelabelStep] = []
    current = {name: value for name, value in labels.items() if value}
    for rule in rules:
        try:
            output = relabel(current, [rule])
        except ValueError as error:
            raise Refused(400, f"rule {len(steps) + 1}: {error}") from None
        text = rule.model_dump(mode="json", exclude_defaults=True)
        if isinstance(output, Dropped):
            steps.append({"rule": text, "keep": False, "reason": output.reason.partition(": ")[2], "output": {}})
            break
        steps.append({"rule": text, "keep": True, "reason": "", "output": output})
        current = output
    kept = all(step["keep"] for step in steps)
    return {"job": job, "error": "", "keep": kept, "labels": current if kept else {}, "steps": steps}


def rules_of(text: str) -> tuple[RelabelRule, ...]:
    """Read rules as they stand in a configuration: a YAML list, also below ``relabel`` or ``relabel_configs``.

    Raises
    ------
    ValueError
        With the first thing that is wrong.
    """
    document = parse(f"rules:\n{indent(text, ' ')}".encode(), "rules")
    for problem in document.problems:
        line = int(problem.where.rpartition(":")[2]) - 1  # ours is the first
        raise ValueError(f"rules, line {line}: {problem.message}")
    given = document.data.get("rules")
    listed = given.get("relabel", given.get("relabel_configs")) if isinstance(given, dict) else given
    try:
        return _RULES.validate_python(listed)
    except ValidationError as error:
        wrong = error.errors()[0]
        if not wrong["loc"]:
            raise ValueError("rules: expected a list, such as: - {source_labels: [a], target_label: b}") from None
        number, *key = map(str, wrong["loc"])
        message = wrong["msg"].removeprefix("Value error, ")
        raise ValueError(": ".join((f"rule {int(number) + 1}", *key, message))) from None
