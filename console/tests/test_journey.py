"""The whole way of a new operator in a real browser: a provider, a route, a team and a key; a call; a failure
that is seen, explained and taken back. And every page on a phone, in the dark, and by keyboard."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browsing import a_chromium, an_operator
from tests.support.fake_upstream import FakeUpstream
from tests.support.served import Served
from tests.support.upstream.script import Json

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

PAGES = (
    "/admin/",
    "/admin/live/",
    "/admin/explain/?model=gpt-4o",
    "/admin/lint/",
    "/admin/rehearse/",
    "/admin/playground/",
    "/admin/routing/route/",
    "/admin/routing/route/add/",
    "/admin/routing/route/1/change/",
    "/admin/routing/draft/",
    "/admin/routing/draft/add/",
    "/admin/routing/revision/",
    "/admin/providers/provider/",
    "/admin/providers/provider/add/",
    "/admin/providers/provider/1/change/",
    "/admin/providers/cataloguemodel/",
    "/admin/accounts/team/",
    "/admin/accounts/apikey/",
    "/admin/accounts/apikey/add/",
    "/admin/accounts/limit/",
    "/admin/accounts/budget/",
    "/admin/accounts/usageday/usage/",
    "/admin/accounts/requestentry/",
    "/admin/accounts/auditentry/",
    "/manage/v1/docs",
)

_GROUND = "getComputedStyle(document.body).backgroundColor"
_TURN = "dark => document.documentElement.classList.toggle('dark', dark)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with a_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def gateway() -> Iterator[Served]:
    """As a new installation is: nothing is configured that answers."""
    with Served() as served:
        yield served


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()


def ask(gateway: Served, key: str) -> httpx.Response:
    body = {"model": "house-large", "messages": [{"role": "user", "content": "say:hello"}]}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def until(gateway: Served, key: str, status: int) -> httpx.Response:
    """The reply once a change is in force."""
    end = time.monotonic() + 20
    while (reply := ask(gateway, key)).status_code != status:
        assert time.monotonic() < end, (reply.status_code, reply.text)
        time.sleep(0.1)
    return reply


def test_from_nothing_to_a_call_and_back(
    gateway: Served, chromium: Browser, fake_upstream: FakeUpstream
) -> None:
    with an_operator(gateway, chromium) as page:
        # A provider of one's own, in the private network.
        page.goto("/admin/providers/provider/add/")
        page.locator("#id_name").fill("house")
        page.locator("#id_kind").select_option("openai_compatible")
        page.locator("#id_base_url").fill(fake_upstream.openai_url)
        page.locator("#id_allow_private_addresses").check()
        page.locator("#id_credentials-0-secret").fill("sk-house-0123456789")
        save(page)
        expect(page.get_by_text("was added successfully")).to_be_visible()

        page.goto("/admin/routing/route/add/")
        page.locator("#id_pattern").fill("house-*")
        page.locator("#id_targets-0-provider").select_option(label="house")
        page.locator("#id_targets-0-upstream_model").fill("gpt-4o")
        save(page)
        expect(page.get_by_role("link", name="house-*").first).to_be_visible()

        page.goto("/admin/accounts/team/add/")
        page.locator("#id_name").fill("crew")
        save(page)
        page.goto("/admin/accounts/apikey/add/")
        page.locator(".field-team .select2-selection").click()
        page.locator(".select2-results__option", has_text="crew").click()
        page.locator("#id_label").fill("ci")
        save(page)
        key = page.locator("#snippet-1").inner_text()

        # It answers, and the page of live traffic shows it.
        page.goto("/admin/live/")
        expect(page.locator("[data-status]")).to_contain_text("in 1 process")
        assert until(gateway, key, 200).json()["choices"][0]["message"]["content"] == "hello"
        seen = page.locator('[data-rows="requests"] tr', has_text="house-large").first
        expect(seen).to_contain_text("crew")

        # The provider breaks; its breaker opens, and that is seen.
        fake_upstream.script("/v1/", [Json(503, {"error": {"message": "down"}})])
        for _ in range(6):
            assert ask(gateway, key).status_code in (502, 503)
        expect(page.locator('[data-rows="breakers"]')).to_contain_text("house, gpt-4o: open")

        # Why: in words, by the function that routes.
        page.goto("/admin/explain/?model=house-large")
        expect(
            page.get_by_text(re.compile("its breaker is open for .* after failures")).first
        ).to_be_visible()

        # A mistake: the route is sent elsewhere, to a provider that has no such model.
        fake_upstream.reset()
        page.goto("/admin/routing/route/")
        page.get_by_role("link", name="house-*").first.click()
        page.locator("#id_targets-0-provider").select_option(label="anthropic")
        save(page)
        expect(page.get_by_text("was changed successfully")).to_be_visible()
        refused = until(gateway, key, 503)
        assert "anthropic" in refused.json()["error"]["message"]

        # And back: what would change is shown first.
        page.goto("/admin/routing/revision/")
        page.locator("#result_list tbody a").first.click()
        page.get_by_role("link", name="Take these changes back").click()
        expect(page.get_by_text("house").first).to_be_visible()
        page.get_by_role("button", name="Take back").click()
        expect(page.get_by_text("Taking that back undoes it.")).to_be_visible()
        until(gateway, key, 200)

        # Which secrets are in use is told.
        page.goto("/admin/providers/provider/")
        used = page.locator("#result_list tr", has_text="house").locator(".field-last_used")
        expect(used).to_contain_text("UTC")
        page.get_by_role("link", name="house", exact=True).first.click()
        expect(page.get_by_text("no: in use, or not known for long enough")).to_be_visible()

        page.goto("/admin/accounts/auditentry/")
        expect(page.get_by_text("target").first).to_be_visible()
        assert key not in page.content()


@pytest.mark.parametrize("width", [1280, 400])
def test_every_page_fits_in_light_and_dark(gateway: Served, chromium: Browser, width: int) -> None:
    """And, as for every page here, nothing is loaded from elsewhere."""
    grounds: dict[str, set[str]] = {"light": set(), "dark": set()}
    with an_operator(gateway, chromium) as page:
        page.set_viewport_size({"width": width, "height": 900})
        for address in PAGES:
            reply = page.goto(address)
            assert reply is not None
            assert reply.status == 200, address
            for scheme, seen in grounds.items():
                page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
                if address == "/admin/":
                    page.reload()  # the theme's script asks for the scheme as a page loads: once by itself
                elif address.startswith("/admin/"):
                    page.evaluate(_TURN, scheme == "dark")
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (address, scheme)
                if address.startswith("/admin/"):
                    seen.add(page.evaluate(_GROUND))
    assert len(grounds["light"]) == len(grounds["dark"]) == 1, grounds
    assert grounds["light"] != grounds["dark"]


def test_a_team_is_made_by_keyboard_alone(gateway: Served, chromium: Browser) -> None:
    with an_operator(gateway, chromium) as page:
        page.goto("/admin/accounts/team/add/")
        page.locator("#id_name").focus()
        page.keyboard.type("keyboard crew")
        button = page.get_by_role("button", name="Save", exact=True)
        for _ in range(30):
            page.keyboard.press("Tab")
            if button.evaluate("button => button === document.activeElement"):
                break
        expect(button).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_text("was added successfully")).to_be_visible()
