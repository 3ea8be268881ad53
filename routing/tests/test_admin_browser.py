"""The admin in a real browser: what an operator does on the first day, without a word to any other host."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import count

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browsing import a_chromium, an_operator
from tests.support.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

# One gateway serves all tests of this file, so each names its things anew.
_numbers = count()


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


def add_provider(page: Page) -> str:
    """Add a provider with a credential; answers its name."""
    name = f"openai-{next(_numbers)}"
    page.goto("/admin/providers/provider/add/")
    page.locator("#id_name").fill(name)
    page.locator("#id_kind").select_option("openai")
    page.locator("#id_credentials-0-secret").fill("sk-canary-0123456789-abcd")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()
    return name


def test_a_provider_a_route_and_a_key_from_nothing(operator: Page) -> None:
    page = operator
    name = add_provider(page)
    pattern = f"{name}-model-*"
    page.goto("/admin/routing/route/add/")
    page.locator("#id_pattern").fill(pattern)
    page.locator("#id_targets-0-provider").select_option(label=name)
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("link", name=pattern).first).to_be_visible()

    page.goto("/admin/accounts/team/add/")
    page.locator("#id_name").fill("crew")
    page.get_by_role("button", name="Save", exact=True).click()
    page.goto("/admin/accounts/apikey/add/")
    page.locator(".field-team .select2-selection").click()
    page.locator(".select2-results__option", has_text="crew").click()
    page.locator("#id_label").fill("ci")
    page.get_by_role("button", name="Save", exact=True).click()
    key = page.locator("#snippet-1").inner_text()
    assert re.fullmatch(r"gw-[0-9A-Za-z]{57}", key)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("[data-copy=snippet-1]").click()
    expect(page.locator("[data-copy=snippet-1]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == key

    # It is in force while its page is still open.
    head = {"Authorization": f"Bearer {key}"}
    end = time.monotonic() + 30
    while not page.request.get("/v1/models", headers=head).ok:
        assert time.monotonic() < end, "the key never worked"
        time.sleep(0.05)

    page.goto("/admin/")
    for words in (f"route {pattern} added", f"provider {name} added", "team crew added"):
        expect(page.get_by_text(words).first).to_be_visible()
    assert key not in page.content()


def test_a_preset_leaves_only_the_key_to_enter(operator: Page) -> None:
    page = operator
    page.goto("/admin/providers/provider/add/")
    page.get_by_role("link", name="Mistral", exact=True).click()
    expect(page.locator("#id_name")).to_have_value("mistral")
    expect(page.locator("#id_kind")).to_have_value("mistral")
    expect(page.get_by_role("link", name="Mistral", exact=True)).to_have_attribute("aria-current", "true")
    page.locator("#id_credentials-0-secret").fill("sk-canary-0123456789-abcd")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()


def test_an_untouched_second_row_is_no_target(operator: Page) -> None:
    """A row that somebody added and left empty is not complained about."""
    page = operator
    name = add_provider(page)
    pattern = f"{name}-model-*"
    page.goto("/admin/routing/route/add/")
    page.locator("#id_pattern").fill(pattern)
    page.locator("#id_targets-0-provider").select_option(label=name)
    page.get_by_role("link", name="Add another Target").click()
    expect(page.locator("#id_targets-1-weight")).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("was added successfully")).to_be_visible()


def test_a_refused_form_says_why_beside_the_field(operator: Page) -> None:
    page = operator
    page.goto("/admin/providers/provider/add/")
    page.locator("#id_name").fill("evil")
    page.locator("#id_kind").select_option("openai_compatible")
    page.locator("#id_base_url").fill("http://169.254.169.254/v1")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Refused: the address is a metadata service")).to_be_visible()


def test_testing_and_revoking_ask_first(operator: Page) -> None:
    page = operator
    page.goto("/admin/providers/provider/")
    page.get_by_role("link", name="sandbox").first.click()
    page.get_by_role("link", name="Test", exact=True).or_(page.locator("a", has_text="Test")).first.click()
    dialog = page.locator("#dialog")
    expect(dialog.get_by_text("Asks a path that costs nothing")).to_be_visible()
    dialog.get_by_role("button", name="Test").click()
    expect(page.get_by_text("sandbox: answers by itself")).to_be_visible()
    page.goto("/admin/accounts/apikey/")
    page.get_by_role("link", name="first key").click()
    page.locator("a", has_text="Revoke").first.click()
    expect(dialog.get_by_text("nobody can bring it back")).to_be_visible()
    dialog.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("is revoked.")).to_be_visible()


@pytest.mark.parametrize("width", [400, 1280])
def test_the_pages_fit_the_screen(operator: Page, width: int) -> None:
    page = operator
    add_provider(page)
    page.set_viewport_size({"width": width, "height": 800})
    paths = (
        "",
        "providers/provider/",
        "providers/provider/1/change/",
        "providers/provider/add/?preset=azure",
    )
    for path in (f"/admin/{each}" for each in paths):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    if width == 1280:
        # Nor is a list of providers wider than its frame, where there is room.
        page.goto("/admin/providers/provider/")
        table = page.locator("#result_list")
        assert table.evaluate("table => table.scrollWidth <= table.parentElement.clientWidth")
