"""Single sign-on in a real browser, at a provider of another site, whose cookies rules no test client has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browsing import a_chromium
from tests.support.fake_idp import CLIENT, SECRET, FakeIdp, a_fake_idp
from tests.support.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with a_chromium() as browser:
        yield browser


@pytest.fixture
def idp() -> Iterator[FakeIdp]:
    with a_fake_idp() as fake:
        # By a name, which is another site than the gateway's address.
        fake.host, fake.asks = "localhost", True
        fake.document = {"end_session_endpoint": f"{fake.issuer}/logout"}
        yield fake


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_the_whole_way_of_somebody_who_signs_in(chromium: Browser, idp: FakeIdp, server: str) -> None:
    gateway = Served(LLM_GATEWAY_SERVER=server)
    gateway.environ |= {
        "LLM_GATEWAY_PUBLIC_URL": gateway.url,
        "LLM_GATEWAY_OIDC_ISSUER": idp.issuer,
        "LLM_GATEWAY_OIDC_CLIENT_ID": CLIENT,
        "LLM_GATEWAY_OIDC_CLIENT_SECRET": SECRET,
        "LLM_GATEWAY_OIDC_LABEL": "Example",
        "LLM_GATEWAY_OIDC_ROLES": "crew=owner",
        "LLM_GATEWAY_OIDC_LOGOUT": "true",
    }
    with gateway:
        page = chromium.new_page(base_url=gateway.url)
        trouble: list[Any] = []
        page.on("pageerror", lambda error: trouble.append(error))
        page.on(
            "response", lambda r: trouble.append(r.url) if r.status >= 400 and gateway.url in r.url else None
        )
        page.on("console", lambda said: trouble.append(said.text) if "Policy" in said.text else None)
        page.goto("/admin/lint/")
        page.get_by_role("link", name="Sign in with Example").click()
        page.get_by_role("link", name="Continue").click()
        # Where somebody wanted to go, with a session whose cookie is Strict.
        page.wait_for_url("**/admin/lint/")
        page.goto("/admin/")
        expect(page.get_by_text("Last changes")).to_be_visible()
        kept = {each["name"]: each["sameSite"] for each in page.context.cookies()}
        assert kept["gateway_session"] == "Strict"
        assert "gateway_sign_in" not in kept
        # Out of both, by a page of the provider, and back.
        _log_out(page)
        page.get_by_role("link", name="Continue").click()
        page.wait_for_url("**/admin/login/")
        page.goto("/admin/lint/")
        expect(page.get_by_role("link", name="Sign in with Example")).to_be_visible()
        assert idp.asked["/logout"] == 1
        assert trouble == []
        # Who has no group is told so, on a page of this gateway.
        idp.person |= {"sub": "2", "groups": []}
        stranger = chromium.new_page(base_url=gateway.url)
        stranger.goto("/admin/")
        stranger.get_by_role("link", name="Sign in with Example").click()
        stranger.get_by_role("link", name="Continue").click()
        expect(stranger.get_by_role("alert")).to_contain_text("None of your groups has a role here")
        stranger.get_by_role("link", name="Back to the login page").click()
        expect(stranger.locator("[name=password]")).to_be_visible()


def _log_out(page: Page) -> None:
    """By the menu at the user's name."""
    page.locator("form[action='/admin/logout/'] button").first.dispatch_event("click")
