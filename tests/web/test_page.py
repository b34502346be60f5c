"""The page in a real browser: every view shows what it should, nobody complains, and strangers' text stays text."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp.test_utils import unused_port
from playwright.async_api import Browser, Route, expect

from aiops.app.daemon import Daemon
from tests.conftest import missing
from tests.web.browser import WIDTHS, chromium, installed, visit
from tests.web.demo_house import config, crowd, demo_house, running, until

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]

HOSTILE = ("<img src=x onerror=alert(1)>", "javascript:alert(1)", "\u202egnp.exe", "A" * 10_000)
CROWD = 250


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    path = installed()
    if path is None:
        missing("the program chromium")
    else:
        async with chromium(path) as found:
            yield found


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Daemon, str]]:
    async with demo_house(tmp_path_factory.mktemp("demo"), unused_port()) as (daemon, url):
        yield daemon, url


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def crowded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Daemon, str]]:
    """5000 series; the first replicas hang, and have names that a browser must not believe."""
    daemon = Daemon(config(tmp_path_factory.mktemp("crowd"), {}))
    reading = crowd(CROWD, HOSTILE)

    async def feed() -> None:
        while True:
            daemon.collectors._inbox.append(reading)
            await asyncio.sleep(0.5)

    async with running(daemon) as url:
        for _ in range(20):
            daemon.collectors._inbox.append(reading)
            await daemon.tick()
        assert daemon.pipeline.grouping.incidents
        feeding = asyncio.create_task(feed())
        yield daemon, url
        feeding.cancel()


def views(daemon: Daemon) -> dict[str, str]:
    """Every view by the name of its picture."""
    incident = next(one.id for one in daemon.pipeline.grouping.incidents.values() if one.open and len(one.members) > 1)
    source = next(status.source for status in daemon.collectors.statuses() if status.up)
    return {
        "overview": "#/", "incident": f"#/incidents/{incident}", "explore": "#/explore?signal=queue_len",
        "capacity": "#/capacity", "alerts": "#/alerts", "targets": "#/targets",
        "target": f"#/targets/{source.replace('/', '%2F')}", "detectors": "#/detectors", "status": "#/status",
        "config": "#/config", "ask": "#/ask?q=which%20alerts%20fire%3F",
    }  # fmt: skip


TOLD = {
    "ask": ("Understood as", "alerts; from", "fires since"),
    "overview": (
        "open incident",
        "Requests run but no token comes",
        "demo/demo-7b",
        "gpu-node-1",
        "% left",
        "advice",
        "Most likely cause",
    ),
    "incident": (
        "Requests run but no token comes",
        "EngineStuck",
        "engine-stuck",
        "expected up to",
        "of its signs seen",
    ),
    "explore": ("Requests admitted but not yet running.", "zscore"),
    "capacity": ("replicas advised", "waiting now", "What binds", "M/M/c"),
    "alerts": ("firing", "EngineStuck", "TargetDown"),
    "targets": ("vLLM", "NVIDIA DCGM exporter", "Connect call failed"),
    "target": ("vllm:num_requests_waiting", "Missing"),
    "detectors": ("zscore", "EngineStuck", "1 firing", "nothing reports"),
    "status": ("memory", "Nobody is told", "tick"),
    "config": ('listen_address: "127.0.0.1:0"', "interval: 1s"),
}
"""Words that each view must show."""


@pytest.mark.parametrize("width", WIDTHS)
async def test_every_view_shows_what_it_should(browser: Browser, demo: tuple[Daemon, str], width: str) -> None:
    daemon, url = demo
    async with visit(browser, url, width=width) as page:
        for name, place in views(daemon).items():
            await page.open(place)
            if name in ("incident", "explore"):
                await page.charts(2)
            for words in TOLD[name]:
                await expect(page.page.locator("main")).to_contain_text(words)
            assert await page.overflow() <= 0, name
            await page.picture(f"{name}-{width}")
            if width == "desktop":
                assert await page.axe() == [], name
        assert page.complaints == []


async def test_the_light_theme_can_be_read_too(browser: Browser, demo: tuple[Daemon, str]) -> None:
    daemon, url = demo
    places = views(daemon)
    async with visit(browser, url, scheme="light") as page:
        for name in ("overview", "incident", "detectors"):
            await page.open(places[name])
            await page.picture(f"{name}-light")
            assert await page.axe() == [], name
        assert page.complaints == []


async def test_a_daemon_that_watches_nothing_does_not_look_well(browser: Browser, tmp_path: Path) -> None:
    async with running(Daemon(config(tmp_path, {}))) as url, visit(browser, url) as page:
        for place, words in (
            ("#/", "Nothing is watched yet"),
            ("#/explore", "Nothing has been read yet"),
            ("#/capacity", "No advice yet"),
            ("#/alerts", "No alert is pending"),
            ("#/targets", "Nothing is read yet"),
        ):
            await page.open(place)
            await expect(page.page.locator("main")).to_contain_text(words)
        assert await page.page.locator(".headline.ok").count() == 0
        assert page.complaints == []


async def test_the_page_follows_the_daemon_without_being_asked(browser: Browser, demo: tuple[Daemon, str]) -> None:
    daemon, url = demo
    async with visit(browser, url) as page:
        await page.open("#/status")
        ticks = page.page.locator(".stat", has_text="ticks").locator("dd").first
        before = await ticks.inner_text()
        await expect(ticks).not_to_have_text(before)
        await expect(page.page.locator("#live")).to_contain_text("live")
        await until(lambda: daemon.server.events.listeners == 1)  # those of the tests before have been missed


async def test_an_update_leaves_what_a_person_does(browser: Browser, demo: tuple[Daemon, str]) -> None:
    _, url = demo
    async with visit(browser, url) as page:
        await page.open("#/detectors")
        rule = page.page.locator("details", has_text="EngineStuck").first
        await rule.locator("summary").click()
        for _ in range(2):
            async with page.page.expect_response("**/api/v1/detectors"):
                pass
        await expect(rule).to_have_attribute("open", "")
        await expect(rule.locator("summary")).to_be_focused()
        await page.page.goto(url + "#/explore?signal=queue_len")
        await page.charts(2)
        await page.page.evaluate("document.querySelector('.chart canvas').id = 'mine'")
        async with page.page.expect_response("**/api/v1/signals/range*"):
            pass
        await expect(page.page.locator("#mine")).to_have_count(1)


async def test_a_span_drawn_in_a_chart_is_kept_in_the_address(browser: Browser, demo: tuple[Daemon, str]) -> None:
    _, url = demo
    async with visit(browser, url) as page:
        await page.open("#/explore?signal=queue_len")
        await page.charts(2)
        box = await page.page.locator(".u-over").first.bounding_box()
        assert box is not None
        await page.page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 50)
        await page.page.mouse.down()
        await page.page.mouse.move(box["x"] + box["width"] - 2, box["y"] + 50, steps=4)
        await page.page.mouse.up()
        await page.page.wait_for_url("**from=*")
        changes = page.page.get_by_role("region", name="What changed")
        await expect(changes).to_contain_text("queue_len")
        await page.picture("changes-desktop")
        assert await page.axe() == []
        await page.page.get_by_role("button", name="Forget the span").click()
        await expect(changes).to_have_count(0)
        assert page.complaints == []


async def test_a_span_can_be_named_without_a_mouse(browser: Browser, demo: tuple[Daemon, str]) -> None:
    _, url = demo
    async with visit(browser, url) as page:
        await page.open("#/explore?signal=queue_len")
        begin, end = (page.page.locator(f"input[name={name}]") for name in ("from", "to"))
        wanted = datetime.fromisoformat(await end.input_value()) - timedelta(seconds=60)
        await begin.fill(wanted.isoformat())
        async with page.page.expect_response("**/api/v1/signals/range*"):
            pass
        assert datetime.fromisoformat(await begin.input_value()) == wanted, "an update leaves it"
        await page.page.get_by_role("button", name="Show").click()
        await page.page.wait_for_url("**from=*to=*")
        await expect(page.page.get_by_role("region", name="What changed")).to_contain_text("queue_len")
        assert await page.axe() == []
        assert page.complaints == []


SAID = [
    (0.0418, "seconds", "41.8 ms"),
    (0, "seconds", "0 s"),
    (7500, "seconds", "2 h 5 min"),
    (-0.00002, "seconds", "-20 µs"),
    (0.97, "ratio", "97 %"),
    (12.5 * 2**30, "bytes", "12.5 GiB"),
    (0, "bytes", "0 B"),
    (3.2e9, "bytes/s", "2.98 GiB/s"),
    (1.41e9, "hertz", "1.41 GHz"),
    (123456, "requests", "123,456 requests"),
    (1, "state", "1"),
    (None, "requests", "–"),
    (float("nan"), "seconds", "–"),
]


async def test_numbers_are_told_as_people_say_them(browser: Browser, demo: tuple[Daemon, str]) -> None:
    _, url = demo
    async with visit(browser, url) as page:
        await page.open("#/config")
        told = await page.page.evaluate(
            "pairs => import('./static/format.js').then(m => pairs.map(([value, unit]) => m.number(value, unit)))",
            [[value, unit] for value, unit, _ in SAID],
        )
    assert [text.replace("\u00a0", " ") for text in told] == [text for *_, text in SAID]


async def test_relabelling_can_be_tried(browser: Browser, demo: tuple[Daemon, str]) -> None:
    _, url = demo
    async with visit(browser, url) as page:
        await page.open("#/targets")
        await page.page.get_by_label("labels").fill('{"scratch_a": "<b>1</b>", "b": "2"}')
        await page.page.get_by_role("button", name="Try").click()
        await expect(page.page.get_by_text('{"b":"2"}').first).to_be_visible()
        await page.page.get_by_label("labels").fill("no JSON")
        await page.page.get_by_role("button", name="Try").click()
        await expect(page.page.get_by_role("alert")).to_contain_text("expected a JSON object of texts")
        await page.page.get_by_label("labels").fill('{"app": "batch"}')
        await page.page.get_by_role("combobox").select_option("those written below")
        await page.page.get_by_label("rules to try").fill("- {source_labels: [app], regex: chat, action: keep}")
        await page.page.get_by_role("button", name="Try").click()
        await expect(page.page.get_by_text("dropped: 'batch' does not match 'chat'")).to_be_visible()
        await page.page.get_by_label("rules to try").fill("- {action: kep}")
        await page.page.get_by_role("button", name="Try").click()
        await expect(page.page.get_by_role("alert")).to_contain_text("rule 1: action: Input should be")
        assert await page.axe() == []
    assert [text for text in page.complaints if "400 (Bad Request)" not in text] == []


async def test_who_has_no_rules_yet_finds_an_example_to_try(browser: Browser, crowded: tuple[Daemon, str]) -> None:
    async with visit(browser, crowded[1], width="phone") as page:
        await page.open("#/targets")
        await expect(page.page.get_by_text("No job has rules yet.")).to_be_visible()
        await expect(page.page.get_by_role("combobox")).to_have_count(0)
        await page.page.get_by_role("button", name="Try").click()
        await expect(page.page.get_by_role("region", name="Relabelling, step by step")).to_contain_text('"pool":"chat"')
        assert await page.axe() == []
        assert page.complaints == []


async def test_a_false_alarm_can_be_told_and_taken_back(browser: Browser, demo: tuple[Daemon, str]) -> None:
    daemon, url = demo
    async with visit(browser, url) as page:
        await page.open(views(daemon)["incident"])
        await page.page.get_by_label("note").fill("load <b>test</b>")
        await page.page.get_by_role("button", name="False alarm").click()
        said = page.page.locator("form.said", has_text="LLMQueueLengthAnomalous").first
        await expect(said).to_contain_text("(load <b>test</b>): counted in the precision")
        await expect(page.page.get_by_label("note")).to_have_value("")
        assert await page.axe() == []
        before = await page.page.locator("form.said").count()
        await said.get_by_role("button", name="Take it back").click()
        await expect(page.page.locator("form.said")).to_have_count(before - 1)
        assert page.complaints == []


async def test_every_number_of_an_incident_leads_to_its_chart_and_its_query(
    browser: Browser, demo: tuple[Daemon, str]
) -> None:
    daemon, url = demo
    place = views(daemon)["incident"]
    async with visit(browser, url) as page:
        await page.open(place)
        main = page.page.locator("main")
        fact = main.locator(".evidence li", has_text="E2").first
        await expect(fact).to_contain_text("tokens_out replica")
        await expect(fact).to_contain_text("expected")
        await fact.locator("summary").click()
        await expect(fact.locator("code")).to_contain_text('aiops_signal_tokens_out_per_second{kind="replica"')
        ruled_out = main.locator(".told dd p", has_text="Ruled out").first
        await ruled_out.get_by_role("link", name="E").first.click()
        await page.page.wait_for_url("**#/explore?signal=*")
        await page.charts(1)
        await page.open(place)
        await fact.get_by_role("link").click()
        await page.page.wait_for_url("**#/explore?signal=tokens_out*")
        await page.charts(1)
        await page.open(place)
        assert page.complaints == []
        await main.get_by_role("link", name="engine-stuck").click()
        await expect(page.page.locator("body")).to_contain_text("The engine holds requests")


async def test_words_of_a_language_model_are_marked(browser: Browser, demo: tuple[Daemon, str]) -> None:
    daemon, url = demo
    model = {"name": "small <b>model</b>", "sentences": [{"text": "It hangs [E2].", "evidence": ["E2"]}],
             "droppedSentences": 1, "disputedOrder": [], "warning": ""}  # fmt: skip

    async def worded(route: Route) -> None:
        answer = await route.fetch()
        body = await answer.json()
        body["data"]["incident"]["summary"]["model"] = model
        await route.fulfill(response=answer, json=body)

    async with visit(browser, url) as page:
        await page.page.route("**/api/v1/incidents/*", worded)
        await page.open(views(daemon)["incident"])
        quoted = page.page.locator("blockquote.model")
        await expect(quoted).to_contain_text("It hangs [E2].")
        await expect(quoted).to_contain_text("Worded by the language model small <b>model</b>")
        await expect(quoted).to_contain_text("1 sentences were dropped")
        await expect(quoted.get_by_role("link", name="E2")).to_have_count(1)
        await expect(page.page.locator("dl.told blockquote")).to_have_count(0)
        assert page.complaints == []


async def test_a_full_budget_is_a_full_bar(browser: Browser, demo: tuple[Daemon, str]) -> None:
    _, url = demo
    budgets = {"budgets": [
        {"slo": slo, "of": "errors", "entity": {"kind": "pool", "name": slo, "labels": {"pool": slo}},
         "objective": 0.99, "threshold": None, "budgetLeft": left, "burnRates": {"1h": 1.0, "6h": None},
         "burning": [], "told": []}
        for slo, left in (("new", None), ("full", 1.0), ("half", 0.5), ("gone", -1.5))
    ]}  # fmt: skip
    async with visit(browser, url) as page:
        await page.page.route("**/api/v1/slo", lambda route: route.fulfill(json={"status": "success", "data": budgets}))
        await page.open("#/")
        lines = page.page.locator(".budgets li")
        found = [(await line.inner_text()).split("\n") for line in await lines.all()]
        shares = await page.page.locator(".budgets meter").evaluate_all("all => all.map(one => one.value)")
    assert shares == [0, 0.5, 1]
    assert [" ".join(line[2:3]).strip() for line in found] == [
        "used up 2.5\u00a0×", "50\u00a0% left", "100\u00a0% left", "not known: no request yet"
    ]  # fmt: skip


async def test_what_strangers_wrote_stays_text(browser: Browser, crowded: tuple[Daemon, str]) -> None:
    daemon, url = crowded
    incident = next(iter(daemon.pipeline.grouping.incidents))
    async with visit(browser, url) as page:
        explore = "#/explore?signal=running&entity=img"
        for place in ("#/", explore, "#/explore?signal=running", "#/alerts", f"#/incidents/{incident}"):
            await page.open(place)
            assert await page.page.locator("main img, main script, main iframe").count() == 0, place
            links = await page.page.eval_on_selector_all("a[href]", "all => all.map(one => one.protocol)")
            assert set(links) == {"http:"}, place
            assert "\u202e" not in await page.text(), place
            assert await page.overflow() <= 0, place
            if place in ("#/", explore, "#/alerts"):
                await expect(page.page.locator("main")).to_contain_text("<img src=x onerror=alert(1)>")
            if place in ("#/", "#/alerts"):
                await expect(page.page.locator("main")).to_contain_text("\\u202egnp.exe")
        assert page.complaints == []


async def test_an_address_from_a_stranger_opens_nothing(browser: Browser, demo: tuple[Daemon, str]) -> None:
    _, url = demo
    async with visit(browser, url) as page:
        for place in ("#/incidents/<img src=x onerror=alert(1)>", "#/nothing", '#/explore?signal=<b>&stat="><script>'):
            await page.page.goto(url + place)
            await page.page.locator("main p, main .notice").first.wait_for()
            assert await page.page.locator("main img, main script, main b").count() == 0, place


async def test_5000_series_cost_little(browser: Browser, crowded: tuple[Daemon, str]) -> None:
    """Counted, not timed: what is loaded before the overview stands, how many elements, what stays in memory."""
    daemon, url = crowded
    assert daemon.pipeline.ring.series >= 5000
    async with visit(browser, url) as page:
        await page.open("#/")
        loaded = await page.page.evaluate(
            "performance.getEntriesByType('resource').map(one => [one.name, one.transferSize])"
        )
        assert not [name for name, _ in loaded if "uPlot.esm" in name], "a chart library before the first chart"
        assert sum(size for _, size in loaded) < 150_000
        await expect(page.page.locator(".dot")).to_have_count(CROWD - len(HOSTILE))
        assert await page.page.locator("main *").count() < 6 * CROWD
        devtools = await page.page.context.new_cdp_session(page.page)
        await devtools.send("Performance.enable")

        async def now() -> dict[str, float]:
            for _ in range(3):  # elements go only after what held them has gone
                await devtools.send("HeapProfiler.collectGarbage")
            metrics = await devtools.send("Performance.getMetrics")
            return {one["name"]: one["value"] for one in metrics["metrics"]}

        before = await now()
        for _ in range(20):
            async with page.page.expect_response("**/api/v1/recommendations"):
                await page.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        after = await now()
        assert before["JSHeapUsedSize"] < 12e6
        assert after["JSHeapUsedSize"] < before["JSHeapUsedSize"] + 2e6
        assert after["Nodes"] < 5 * before["Nodes"], "each of 20 updates leaves its elements behind"
        assert page.complaints == []
