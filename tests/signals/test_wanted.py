"""What to ask for: a page of only these names resolves as the whole page does."""

from pathlib import Path

import pytest

from aiops.app import presets
from aiops.collect.exposition import PageParser
from aiops.signals.page import Layout
from aiops.signals.resolve import resolve
from aiops.signals.wanted import wanted

PROFILES = presets.engine_profiles()
PAGES = sorted((Path(__file__).parent / "data").glob("*.prom"))


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_a_page_without_the_rest_resolves_alike(file: Path) -> None:
    layout = PageParser().parse(file.read_bytes(), "text/plain").layout
    names = {sample.name for sample in layout.samples}
    chosen = wanted(PROFILES, {"a": names, "b": {"up", "go_goroutines"}})
    assert chosen.keys() == {"a"}
    less = Layout(tuple(sample for sample in layout.samples if sample.name in chosen["a"]))

    def said(of: Layout) -> object:
        found = resolve(of, PROFILES, (("job", "j"),))
        bound = {
            (one.entity, one.signal): (one.metric, one.status, [of.samples[place] for place in one.value])
            for one in found.bindings
        }
        return [profile.name for profile in found.profiles], found.version, bound, dict(found.pending)

    assert said(less) == said(layout)
    assert less.samples
