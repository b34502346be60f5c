"""What a target said last and what could be read from it, as a plain record."""

from collections.abc import Sequence
from functools import cache

from aiops.app.presets import dependents
from aiops.app.view import Record
from aiops.collect.scrape import SHOWN_BYTES, Scraper
from aiops.signals.doctor import examine, to_dict
from aiops.signals.profile import Profile

_dependents = cache(dependents)


def page_record(scraper: Scraper, profiles: Sequence[Profile]) -> Record:
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
