"""The admin in a real Chromium: somebody who has logged in, and hears of nothing but this gateway."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.served import Served

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def a_chromium() -> Iterator[Browser]:
    """A browser. The test is skipped, loudly, where none is installed."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip("no Chromium: scripts/browser.sh installs one")
    with sync_playwright() as playwright:
        # As root, as in a container, Chromium starts only without its sandbox.
        args = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=args)
        yield browser
        browser.close()


@contextmanager
def an_operator(
    gateway: Served, chromium: Browser, name: str = "admin", password: str | None = None
) -> Iterator[Page]:
    """A page of somebody who has logged in: the first user, or another with his password. Fails on a
    script's error, a missing file, and any request to another host."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, base_url=gateway.url)
    page = context.new_page()
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(f"script: {error}"))
    page.on("response", lambda r: trouble.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.on("request", lambda r: trouble.append(r.url) if not _own(r.url, gateway.url) else None)
    page.goto("/admin/")
    page.locator("[name=username]").fill(name)
    page.locator("[name=password]").fill(gateway.password if password is None else password)
    page.locator("form button[type=submit]").click()
    expect(page.get_by_text("Last changes")).to_be_visible()
    yield page
    context.close()
    assert trouble == []


def _own(url: str, server: str) -> bool:
    return url.startswith((server, "data:", "blob:"))
