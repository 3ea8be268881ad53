"""Two people for a risky change in a real browser: one asks, another approves, and not the first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browsing import a_chromium, an_operator
from tests.support.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]
PASSWORD = "a-long-password-of-the-tests"


@pytest.fixture(scope="module")
def gateway() -> Iterator[Served]:
    with Served(LLM_GATEWAY_APPROVAL="all") as served:
        yield served


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with a_chromium() as browser:
        yield browser


@contextmanager
def somebody(gateway: Served, chromium: Browser, name: str, role: str) -> Iterator[Page]:
    """Another member of staff, in a browser of his own."""
    code = (
        "from django.contrib.auth.models import Group, User;"
        f"user = User.objects.create_user({name!r}, password={PASSWORD!r}, is_staff=True);"
        f"user.groups.add(Group.objects.get(name={role!r}))"
    )
    gateway.manage("shell", "-c", code)
    with an_operator(gateway, chromium, name, PASSWORD) as page:
        yield page


def test_one_asks_another_approves_and_then_it_is_live(gateway: Served, chromium: Browser) -> None:
    with (
        somebody(gateway, chromium, "ann", "owner") as ann,
        somebody(gateway, chromium, "bea", "owner") as bea,
        somebody(gateway, chromium, "otto", "operator") as otto,
    ):
        ann.goto("/admin/providers/provider/")
        ann.get_by_role("link", name="sandbox").first.click()
        ann.locator("#id_enabled").uncheck()
        ann.get_by_role("button", name="Save", exact=True).click()
        # Held back, on the page of a draft, which is not hers to approve.
        expect(ann.get_by_text("awaits approval by somebody else and steers nothing")).to_be_visible()
        expect(ann.get_by_text("is deleted or disabled").last).to_be_visible()
        draft = ann.url
        approve = "Approve and publish at once"
        expect(ann.get_by_role("button", name=approve)).to_have_count(0)
        ann.goto("/admin/")
        expect(ann.get_by_text("These changes await your approval")).to_have_count(0)
        assert _enabled(ann)
        # An operator may see it, and no more.
        otto.goto(draft)
        expect(otto.get_by_role("heading", name="It awaits approval by somebody else")).to_be_visible()
        expect(otto.get_by_role("button", name=approve)).to_have_count(0)
        # Who may approve is told so where he comes in.
        bea.goto("/admin/")
        expect(bea.get_by_text("These changes await your approval")).to_be_visible()
        bea.get_by_role("link", name="provider sandbox changed").click()
        expect(bea.get_by_text("enabled: True -> False")).to_be_visible()
        bea.get_by_role("button", name=approve).click()
        expect(bea.get_by_text("Published as revision")).to_be_visible()
        assert not _enabled(bea)
        bea.goto("/admin/")
        expect(bea.get_by_text("These changes await your approval")).to_have_count(0)
        expect(bea.get_by_role("cell", name="ann", exact=True)).to_be_visible()


def test_what_is_rejected_says_why_and_is_never_live(gateway: Served, chromium: Browser) -> None:
    with (
        somebody(gateway, chromium, "cora", "owner") as cora,
        somebody(gateway, chromium, "dan", "owner") as dan,
    ):
        cora.goto("/admin/accounts/apikey/add/")
        cora.locator(".field-team .select2-selection").click()
        cora.locator(".select2-results__option").first.click()
        cora.locator("#id_label").fill("wide")
        cora.get_by_role("button", name="Save", exact=True).click()
        expect(cora.get_by_text("It works once somebody else has approved it")).to_be_visible()
        key = cora.locator("#snippet-1").inner_text()
        dan.goto("/admin/")
        dan.get_by_role("listitem").filter(has_text="asked for by cora").get_by_role("link").click()
        dan.get_by_label("Why it is not to be").fill("who is it for?")
        dan.get_by_role("button", name="Reject").click()
        expect(dan.get_by_text("Rejected. The draft stays")).to_be_visible()
        draft = dan.url
        cora.goto(draft)
        expect(cora.get_by_text("who is it for?")).to_be_visible()
        head = {"Authorization": f"Bearer {key}"}
        assert cora.request.get("/v1/models", headers=head).status == 401


def _enabled(page: Page) -> bool:
    page.goto("/admin/providers/provider/")
    page.get_by_role("link", name="sandbox").first.click()
    return page.locator("#id_enabled").is_checked()
