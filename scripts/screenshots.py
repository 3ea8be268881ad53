"""Takes the pictures of the admin for the README and the guides: a throwaway gateway, a real Chromium,
docs/images/*.png.

Run it from the project's folder: make screenshots
"""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.served import Served

_IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"


def main() -> int:
    """Write the pictures; 1 where there is no Chromium."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        print("No Chromium: scripts/browser.sh installs one.")
        return 1
    _IMAGES.mkdir(parents=True, exist_ok=True)
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    # Made-up keys, so that the providers look as they do in use; nothing is sent to them.
    keys = {"OPENAI_API_KEY": "sk-made-up-0123456789abcd", "ANTHROPIC_API_KEY": "sk-ant-made-up-012345wxyz"}
    # Raising a limit takes two; all else is published at once.
    with Served(None, **keys, LLM_GATEWAY_APPROVAL="allowances") as gateway, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=args)
        page = _somebody(browser, gateway, "admin", gateway.password)
        _route(page)
        _key(page)
        page.goto("/admin/")
        _take(page, "admin-home")
        page.goto("/admin/providers/provider/")
        _take(page, "admin-providers")
        page.goto("/admin/explain/?model=gpt-4o")
        _take(page, "admin-explain")
        _live(page, gateway)
        _draft(page)
        _approval(page, browser, gateway)
        browser.close()
    return 0


def _somebody(browser: Browser, gateway: Served, name: str, password: str) -> Page:
    """A page of its own session, logged in."""
    page = browser.new_page(viewport={"width": 1280, "height": 800}, base_url=gateway.url)
    page.goto("/admin/")
    page.locator("[name=username]").fill(name)
    page.locator("[name=password]").fill(password)
    page.locator("form button[type=submit]").click()
    page.get_by_text("Last changes").wait_for()
    return page


def _route(page: Page) -> None:
    """A route with two targets in two tiers."""
    page.goto("/admin/routing/route/")
    page.get_by_role("link", name="gpt-*", exact=True).first.click()
    page.get_by_role("link", name="Add another Target").click()
    page.locator("#id_targets-1-provider").select_option(label="anthropic")
    page.locator("#id_targets-1-upstream_model").fill("claude-sonnet-4-5")
    page.locator("#id_targets-1-tier").fill("1")
    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_text("was changed successfully").wait_for()
    page.reload()
    _take(page, "admin-route")


def _key(page: Page) -> None:
    """A new key with its lines to copy. The gateway that it belongs to is gone when this script ends."""
    page.goto("/admin/accounts/apikey/add/")
    page.locator(".field-team .select2-selection").click()
    page.locator(".select2-results__option", has_text="default").click()
    page.locator("#id_label").fill("continuous integration")
    page.get_by_role("button", name="Save", exact=True).click()
    page.locator("#snippet-1").wait_for()
    _take(page, "admin-key")


def _live(page: Page, gateway: Served) -> None:
    """Some seconds of traffic to the sandbox, watched."""
    key = gateway.manage("keys", "issue", "--team", "crew").strip().splitlines()[-1]
    head = {"Authorization": f"Bearer {key}"}
    body = {"model": "sandbox", "messages": [{"role": "user", "content": "hello"}]}
    page.goto("/admin/live/")
    page.get_by_text("requests open").wait_for()
    for number in range(120):
        page.request.post("/v1/chat/completions", headers=head, data=body)
        page.wait_for_timeout(20 + 15 * (number % 12))
    _take(page, "admin-live")


def _draft(page: Page) -> None:
    """Two edits that go together, saved from their forms, and what they would have done to that traffic."""
    page.goto("/admin/routing/draft/add/")
    page.locator("#id_name").fill("sandbox goes")
    page.locator("#id_note").fill("Its calls go to OpenAI from Monday on.")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_role("button", name="Stop editing it").click()
    page.goto("/admin/routing/route/")
    page.get_by_role("link", name="sandbox", exact=True).last.click()
    page.locator("#id_targets-0-provider").select_option(label="openai")
    page.locator("#id_targets-0-upstream_model").fill("gpt-4o-mini")
    page.get_by_role("button", name="Save into draft").click()
    page.get_by_text("It steers nothing until it is published.").wait_for()
    page.goto("/admin/providers/provider/")
    page.get_by_role("link", name="sandbox", exact=True).last.click()
    page.locator("#id_enabled").uncheck()
    page.get_by_role("button", name="Save into draft").click()
    page.get_by_text("It steers nothing until it is published.").wait_for()
    page.reload()
    _take(page, "admin-draft")


def _approval(page: Page, browser: Browser, gateway: Served) -> None:
    """A limit is raised by one; what another sees of it."""
    page.goto("/admin/accounts/limit/add/")
    page.locator(".field-team .select2-selection").click()
    page.locator(".select2-results__option", has_text="crew").click()
    page.locator("#id_amount").fill("100")
    page.get_by_role("button", name="Save and continue editing").click()
    page.get_by_text("was added successfully").wait_for()
    page.locator("#id_amount").fill("5000")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("It awaits approval by somebody else").wait_for()
    draft = page.url
    password = secrets.token_urlsafe(16)
    gateway.environ["DJANGO_SUPERUSER_PASSWORD"] = password
    gateway.manage("createsuperuser", "--noinput", "--username", "olga", "--email", "olga@example.com")
    other = _somebody(browser, gateway, "olga", password)
    other.goto(draft)
    _take(other, "admin-approval")


def _take(page: Page, name: str) -> None:
    page.screenshot(path=_IMAGES / f"{name}.png")
    print(f"docs/images/{name}.png: {(_IMAGES / f'{name}.png').stat().st_size // 1024} KB")


if __name__ == "__main__":
    sys.exit(main())
