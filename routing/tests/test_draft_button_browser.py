"""The button "Save into draft" in a real browser: by keyboard, on a phone, in the dark; and Enter in a field
publishes as ever."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.browsing import a_chromium, an_operator
from tests.support.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def gateway() -> Iterator[Served]:
    with Served() as served:
        yield served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with a_chromium() as browser:
        yield browser


@pytest.fixture
def operator(gateway: Served, chromium: Browser) -> Iterator[Page]:
    with an_operator(gateway, chromium) as page:
        yield page


def tab_to(page: Page, wanted: Locator) -> None:
    for _ in range(80):
        page.keyboard.press("Tab")
        if wanted.evaluate("wanted => wanted === document.activeElement"):
            return
    raise AssertionError("no Tab leads there")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_an_edit_is_saved_into_a_draft_by_keyboard(operator: Page, width: int, dark: bool) -> None:
    page = operator
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark" if dark else "light")
    page.goto("/admin/providers/provider/1/change/")
    before = page.locator("#id_name").input_value()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#id_name").focus()
    page.keyboard.press("End")
    page.keyboard.type("-x")
    which = page.get_by_label("Which draft")
    tab_to(page, which)
    page.keyboard.type("a new")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Save into draft")).to_be_focused()
    page.keyboard.press("Enter")
    said = page.get_by_text("It steers nothing until it is published.")
    expect(said).to_be_visible()
    found = re.search(r"Saved into the draft (.+?)\. It steers", said.inner_text())
    assert found is not None
    expect(page.get_by_text(f"{before}-x").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Another edit goes into the same one, which is offered first from now on.
    page.goto("/admin/accounts/team/add/")
    expect(page.get_by_label("Which draft").locator("option:checked")).to_have_text(f"{found[1][:19]}…")
    page.locator("#id_name").fill(f"crew {width}")
    page.get_by_role("button", name="Save into draft").click()
    expect(page.get_by_text(f"team crew {width}").first).to_be_visible()
    page.goto("/admin/providers/provider/1/change/")
    expect(page.locator("#id_name")).to_have_value(before)
    page.goto("/admin/accounts/team/")
    expect(page.get_by_text(f"crew {width}")).to_have_count(0)


def test_enter_in_a_field_publishes_as_ever(operator: Page) -> None:
    page = operator
    page.goto("/admin/accounts/team/add/")
    page.locator("#id_name").fill("band")
    page.keyboard.press("Enter")
    expect(page.get_by_text("was added successfully")).to_be_visible()
    expect(page.locator("#result_list").get_by_role("link", name="band", exact=True)).to_be_visible()
