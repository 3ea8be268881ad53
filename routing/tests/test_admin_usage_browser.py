"""From a request to why it was charged, and to the charts of usage, in a real browser, wide and narrow."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browsing import a_chromium, an_operator
from tests.support.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

KEY = "sk-usage-0123456789-abcdef"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Served]:
    with Served(LLM_GATEWAY_BOOTSTRAP_KEY=KEY) as served:
        yield served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with a_chromium() as browser:
        yield browser


@pytest.fixture
def operator(gateway: Served, chromium: Browser) -> Iterator[Page]:
    with an_operator(gateway, chromium) as page:
        yield page


def ask(page: Page) -> str:
    """Ask the sandbox something, and wait until it is in the list. The request's id."""
    words = {"model": "sandbox", "messages": [{"role": "user", "content": "Hello"}]}
    answer = page.request.post("/v1/chat/completions", data=words, headers={"Authorization": f"Bearer {KEY}"})
    assert answer.ok
    name = answer.headers["x-request-id"]
    end = time.monotonic() + 30
    while f">{name}<" not in page.request.get(f"/admin/accounts/requestentry/?q={name}").text():
        assert time.monotonic() < end, "the request never came into the ledger"
        time.sleep(0.1)
    return name


@pytest.mark.parametrize("width", [1280, 400])
def test_from_a_request_to_its_charge_and_to_usage(operator: Page, width: int) -> None:
    page = operator
    name = ask(page)
    page.set_viewport_size({"width": width, "height": 800})

    page.goto(f"/admin/accounts/requestentry/?q={name}")
    fits(page, width)
    with page.expect_download() as taken:
        page.get_by_role("link", name="Export as CSV").click()
    assert name in taken.value.path().read_text()
    page.locator("#result_list a[href*='/change/']").first.click()
    expect(page.get_by_role("heading", name="Why was this charged?")).to_be_visible()
    expect(page.get_by_text("Computed anew")).to_be_visible()
    expect(page.get_by_text("counted").first).to_be_visible()
    fits(page, width)

    page.goto("/admin/accounts/usageday/usage/")
    for chart in ("Cost a day", "Tokens a day", "Requests a day", "Time that requests took"):
        expect(page.get_by_role("img", name=chart)).to_be_visible()
    fits(page, width)
    page.get_by_text("Tokens a day as a table").click()
    expect(page.get_by_role("region", name="Tokens a day as a table")).to_be_visible()
    page.get_by_role("navigation", name="Grouped by").get_by_role("link", name="model").click()
    page.get_by_role("link", name="sandbox", exact=True).click()
    expect(page.get_by_text("Only model sandbox")).to_be_visible()
    fits(page, width)
    page.get_by_role("link", name="The requests of these").click()
    expect(page.get_by_role("link", name="Export as CSV")).to_be_visible()
    assert name in page.content()


def test_letters_of_charts_are_light_where_it_is_dark(operator: Page) -> None:
    page = operator
    page.goto("/admin/accounts/usageday/usage/")
    lightness = (
        "getComputedStyle(document.querySelector('.usage-chart text')).fill === "
        "getComputedStyle(document.querySelector('.usage-charts')).color"
    )
    colour = "getComputedStyle(document.querySelector('.usage-chart text')).fill"
    assert page.evaluate(lightness)
    light = page.evaluate(colour)
    page.emulate_media(color_scheme="dark")
    # The theme looks once for each page.
    page.reload()
    page.wait_for_function("document.documentElement.classList.contains('dark')")
    assert page.evaluate(lightness)
    assert page.evaluate(colour) != light


def fits(page: Page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
