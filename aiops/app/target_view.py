"""What a target said last and what could be read from it, and what relabelling makes of one, as plain records."""

from collections.abc import Mapping, Sequence
from functools import cache

from aiops.app.presets import dependents
from aiops.collect.relabel import Dropped, relabel
from aiops.collect.scrape import SHOWN_BYTES, Scraper
from aiops.collect.settings import JobSettings
from aiops.signals.doctor import examine, to_dict
from aiops.signals.profile import Profile
from aiops.web.records_fleet import JobRecords, PageRecord, RelabelRecord, RelabelStep
from aiops.web.source import Refused

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
    steps: list[RelabelStep] = []
    current = {name: value for name, value in labels.items() if value}
    for rule in found.relabel:
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
    return {"job": job, "keep": kept, "labels": current if kept else {}, "steps": steps}
