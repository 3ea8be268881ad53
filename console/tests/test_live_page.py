"""The page of live traffic in a real browser, on both servers: requests as they end, a drain that empties,
and a freeze that holds edits."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.support.browsing import a_chromium, an_operator
from tests.support.fake_upstream import FakeUpstream
from tests.support.served import Served
from tests.support.upstream.script import Answer, WaitFor

URL = "/admin/live/"
_LOG_OUT = "from django.contrib.sessions.models import Session; Session.objects.all().delete()"


@pytest.fixture(params=["daphne", "uvicorn"])
def gateway(request: pytest.FixtureRequest, fake_upstream: FakeUpstream) -> Iterator[Served]:
    values = {
        "OPENAI_API_KEY": "sk-openai-0123456789",
        "LLM_GATEWAY_PROVIDERS_OPENAI_BASE_URL": fake_upstream.openai_url,
        "LLM_GATEWAY_PROVIDERS_DEFAULT": "openai",
        "LLM_GATEWAY_SERVER": request.param,
    }
    with Served(None, **values) as served:
        yield served


def ask(gateway: Served, key: str, *, stream: bool = False) -> httpx.Response:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(f"{gateway.url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def begin(page: Page, kind: str, reason: str, provider: str = "") -> None:
    page.locator("[name=kind]").select_option(kind)
    if provider:
        page.locator("[name=provider]").select_option(label=provider)
    page.get_by_label("Why").fill(reason)
    page.get_by_role("button", name="Begin").click()


@pytest.mark.browser
@pytest.mark.timeout(240)
def test_an_operator_watches_drains_and_freezes(gateway: Served, fake_upstream: FakeUpstream) -> None:
    key = gateway.manage("keys", "issue", "--team", "crew").strip().splitlines()[-1]
    with a_chromium() as chromium, an_operator(gateway, chromium) as page:
        page.goto(URL)
        status = page.locator("[data-status]")
        expect(status).to_contain_text("0 requests open in 1 process")
        page.set_viewport_size({"width": 400, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.set_viewport_size({"width": 1280, "height": 900})

        requests = page.locator('[data-rows="requests"]')
        openai = page.locator("[data-provider=openai] td")
        assert ask(gateway, key).status_code == 200
        expect(requests.get_by_role("row")).to_have_count(1)
        expect(requests).to_contain_text("crew")
        expect(requests).to_contain_text("gpt-4o")
        assert page.locator('[data-chart="rate"] path').count() == 2

        # Drained: the open stream goes on to its end, and nothing new comes in.
        go_on = threading.Event()
        fake_upstream.script("/v1/", [Answer(events=2), WaitFor(go_on), Answer()], times=1)
        open_stream = threading.Thread(target=ask, args=(gateway, key), kwargs={"stream": True})
        open_stream.start()
        expect(openai.nth(1)).to_have_text("1")
        begin(page, "drain", "its answers are odd", "openai")
        expect(page.get_by_text("Drain of openai until").first).to_be_visible()
        expect(openai.nth(5)).to_contain_text("draining until")
        refused = ask(gateway, key)
        assert refused.status_code == 503
        assert "drained until" in refused.json()["error"]["message"]
        assert "odd" not in refused.text
        go_on.set()
        open_stream.join()
        expect(openai.nth(1)).to_have_text("0")
        expect(openai.nth(5)).to_contain_text("drained until")
        expect(requests).to_contain_text("503")
        page.get_by_role("button", name="End it now").click()
        expect(openai.nth(5)).to_have_text("on")
        assert ask(gateway, key).status_code == 200

        # Frozen: what was typed is still there, and is saved once the freeze is over.
        begin(page, "freeze", "we are looking for the cause")
        page.goto("/admin/routing/route/")
        page.get_by_role("link", name="gpt-*", exact=True).first.click()
        page.locator("[name=priority]").fill("7")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("Edits are frozen until").first).to_be_visible()
        expect(page.locator("[name=priority]")).to_have_value("7")
        page.goto(URL)
        page.get_by_role("button", name="End it now").click()
        page.goto("/admin/routing/revision/")
        expect(page.get_by_text("freeze of edits ended")).to_be_visible()


@pytest.mark.browser
@pytest.mark.parametrize("gateway", ["daphne"], indirect=True)
@pytest.mark.timeout(240)
def test_the_page_works_by_keyboard_and_tells_when_it_is_over(gateway: Served) -> None:
    with a_chromium() as chromium, an_operator(gateway, chromium) as page:
        page.goto(URL)
        expect(page.locator("[data-status]")).to_contain_text("requests open")
        page.locator("[data-pause]").focus()
        page.keyboard.press("Enter")
        expect(page.locator("[data-pause]")).to_have_attribute("aria-pressed", "true")
        gateway.manage(
            "shell", "-c", "from django.contrib.sessions.models import Session as S; S.objects.all().delete()"
        )
        expect(page.locator("[data-status]")).to_contain_text("logged out", timeout=30_000)
