"""A real browser for tests: Debian's chromium, driven by playwright, that tells on its pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 10_000
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser, closed with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """One person at a browser of their own, on one site. ``faults`` collects what a page must
    never do: an error on the console, an exception, a request to another origin."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self.url = url
        self.faults: list[str] = []
        self.context = browser.new_context(base_url=url, **options)
        self.context.on("request", lambda request: self._note_origin(request.url))
        self.context.set_default_timeout(PATIENCE_MS)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.faults.append(text)

    def _note_origin(self, address: str) -> None:
        if urlsplit(address).netloc != urlsplit(self.url).netloc:
            self.faults.append(f"a request left the origin: {address}")

    def sign_in(self, key: str) -> None:
        """Through the form, as a person would; the page that answers is there."""
        self.page.goto("/")
        self.page.get_by_label("API key").fill(key)
        with self.page.expect_navigation():  # a reload while it still loads is an error
            self.page.get_by_role("button", name="Sign in").click()

    def open(self, key: str) -> None:
        """Sign in with a workspace's key, and wait until its page is live and drawn."""
        self.sign_in(key)
        expect(self["#live-word"]).to_have_text("Live")
        expect(self["#usage[aria-busy=false]"]).to_be_visible()

    def __getitem__(self, selector: str) -> Locator:
        """What the selector finds on the page."""
        return self.page.locator(selector)
