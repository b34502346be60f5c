"""Debian's Chromium behind Playwright, which downloads no browser of its own."""

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

SCREENSHOTS = os.environ.get("AIOPS_SCREENSHOTS", "")
"""Folder for a picture of every view; empty: none are made."""
WIDTHS = {"desktop": (1280, 800), "phone": (390, 844)}
expect.set_options(timeout=20_000)  # a loaded machine is no reason to fail
# Ours are static files, so a 404 is a mistake; what the API refuses is shown by the view.
_IGNORED = re.compile(r"favicon")


class Visit:
    """One page, and everything it complained about."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.base = base
        self.complaints: list[str] = []
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _IGNORED.search(message.text):
            self.complaints.append(f"{message.text} {message.location}")

    async def open(self, place: str) -> None:
        """Go to a view and wait until it shows what the API said."""
        await self.page.goto(self.base + place)
        await self.page.locator(f'main[data-ready="{place}"]').wait_for()
        await self.page.evaluate("document.fonts.ready")

    async def charts(self, least: int) -> None:
        """Wait until so many charts are drawn."""
        await self.page.locator(".chart canvas").nth(least - 1).wait_for()

    async def text(self) -> str:
        """What a person reads."""
        return await self.page.locator("main").inner_text()

    async def overflow(self) -> float:
        """Pixels by which the page is wider than the window."""
        return float(await self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    async def axe(self) -> list[str]:
        """What the accessibility check found."""
        found = await Axe().run(self.page, options={"resultTypes": ["violations"]})
        return [
            f"{one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
            for one in found.response["violations"]
        ]

    async def picture(self, name: str) -> None:
        """Keep a screenshot, where somebody wants one."""
        if SCREENSHOTS:
            folder = Path(SCREENSHOTS)
            folder.mkdir(parents=True, exist_ok=True)
            await self.page.screenshot(path=folder / f"{name}.png", full_page=True)


@asynccontextmanager
async def chromium(path: str) -> AsyncIterator[Browser]:
    """The installed browser, without a window."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        await browser.close()


@asynccontextmanager
async def visit(browser: Browser, base: str, *, width: str = "desktop", scheme: Any = "dark") -> AsyncIterator[Visit]:
    """A fresh window."""
    wide, high = WIDTHS[width]
    context = await browser.new_context(viewport={"width": wide, "height": high}, color_scheme=scheme)
    try:
        yield Visit(await context.new_page(), base)
    finally:
        await context.close()


def installed() -> str | None:
    """Path of the browser."""
    return shutil.which("chromium")
