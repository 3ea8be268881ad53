"""The playground: whose keys it issues, and a conversation in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from playwright.sync_api import expect

from accounts.ledger.rows import RequestEntry
from accounts.models import ApiKey, Team, TeamMember
from tests.support.browsing import a_chromium, an_operator
from tests.support.fake_upstream import FakeUpstream
from tests.support.rows import make_key, make_staff
from tests.support.served import Served
from tests.support.surfaces import TEXT

URL = "/admin/playground/"
ISSUES = ("accounts.add_apikey", "accounts.change_apikey")


@pytest.fixture
def crew() -> Team:
    return Team.objects.create(name="crew")


@pytest.mark.django_db
def test_a_key_lives_for_half_an_hour_and_ends_with_the_page(client: Client, crew: Team) -> None:
    client.force_login(User.objects.create_superuser("root"))
    assert "crew" in client.get(URL).content.decode()
    reply = client.post(URL + "key", {"team": crew.pk})
    assert reply["cache-control"].startswith("max-age=0")
    row = ApiKey.objects.get()
    assert (row.team, row.label, row.pk) == (crew, "playground of root", reply.json()["id"])
    assert row.expires_at is not None
    assert timedelta(minutes=29) < row.expires_at - timezone.now() <= timedelta(minutes=30)
    assert client.post(URL + "end", {"id": row.pk}).status_code == 204
    row.refresh_from_db()
    assert row.state == "revoked"


@pytest.mark.django_db
def test_other_keys_do_not_end_here(client: Client) -> None:
    other = make_key()
    client.force_login(User.objects.create_superuser("root"))
    for said in (str(other.row.pk), "", "x", "9" * 30):
        assert client.post(URL + "end", {"id": said}).status_code == 404
    other.row.refresh_from_db()
    assert other.row.state == "active"


@pytest.mark.django_db
def test_it_is_for_who_may_issue_keys_and_for_his_teams(client: Client, crew: Team) -> None:
    others = Team.objects.create(name="others")
    client.force_login(make_staff("accounts.add_apikey", name="half"))
    assert client.get(URL).status_code == 403
    assert client.post(URL + "key", {"team": crew.pk}).status_code == 403
    staff = make_staff(*ISSUES, name="scoped")
    TeamMember.objects.create(user=staff, team=crew)
    client.force_login(staff)
    assert "others" not in client.get(URL).content.decode()
    assert client.post(URL + "key", {"team": others.pk}).status_code == 404
    assert client.post(URL + "key", {"team": crew.pk}).status_code == 200
    forger = Client(enforce_csrf_checks=True)
    forger.force_login(staff)
    assert forger.post(URL + "key", {"team": crew.pk}).status_code == 403


@pytest.mark.django_db
def test_the_ledger_tells_of_ones_own_requests_alone(client: Client, crew: Team) -> None:
    client.force_login(User.objects.create_superuser("root"))
    number = client.post(URL + "key", {"team": crew.pk}).json()["id"]
    others = make_key().row.pk
    for name, key, state in (
        ("req_1", number, "settled"),
        ("req_2", number, "reserved"),
        ("req_3", others, "settled"),
    ):
        RequestEntry.objects.create(
            request_id=name,
            at=timezone.now(),
            team_id=crew.pk,
            key_id=key,
            state=state,
            cost=2_000_000,
            tries=1,
        )
    statuses = [client.get(URL + "request", {"id": f"req_{n}"}).status_code for n in (1, 2, 3, "")]
    assert statuses == [200, 204, 204, 204]
    assert client.get(URL + "request", {"id": "req_1"}).json()["cost"] == "$0.002"


@pytest.fixture
def gateway(fake_upstream: FakeUpstream) -> Iterator[Served]:
    values = {
        "OPENAI_API_KEY": "sk-openai-0123456789",
        "LLM_GATEWAY_PROVIDERS_OPENAI_BASE_URL": fake_upstream.openai_url,
        "LLM_GATEWAY_PROVIDERS_DEFAULT": "openai",
    }
    with Served(None, **values) as served:
        yield served


@pytest.mark.browser
@pytest.mark.timeout(180)
def test_two_sides_answer_token_by_token(
    gateway: Served, fake_upstream: FakeUpstream, tmp_path: Path
) -> None:
    picture = tmp_path / "pixel.gif"
    picture.write_bytes(
        b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,"
        b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
    )
    with a_chromium() as chromium, an_operator(gateway, chromium) as page:
        page.set_viewport_size({"width": 400, "height": 800})
        page.goto(URL)
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.set_viewport_size({"width": 1280, "height": 900})
        page.get_by_label("Model", exact=False).first.fill("gpt-4o")
        page.get_by_label("Model", exact=False).nth(1).fill("gpt-4o-mini")
        page.get_by_label("Prompt", exact=True).fill("count:9")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        sides = page.locator("[data-pane]")
        for side in (0, 1):
            expect(sides.nth(side).locator("[data-log]")).to_contain_text(TEXT)
            facts = sides.nth(side).locator("[data-facts]")
            expect(facts).to_contain_text("first token after")
            expect(facts).to_contain_text("cost $", timeout=20_000)
            expect(facts).to_contain_text("asked openai")
        assert {request.model for request in fake_upstream.requests} == {"gpt-4o", "gpt-4o-mini"}

        # The second turn has the first in it, with a tool and a picture.
        tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
        page.locator("[name=extra]").fill(json.dumps({"tools": [tool]}))
        page.locator("[name=image]").set_input_files(picture)
        page.get_by_label("Model", exact=False).nth(1).fill("")
        page.get_by_label("Prompt", exact=True).fill("call:look {}")
        page.get_by_role("button", name="Send").click()
        expect(sides.nth(0).locator("[data-log]")).to_contain_text("look({})")
        last = fake_upstream.last.json
        assert [message["role"] for message in last["messages"]] == ["user", "assistant", "user"]
        assert last["messages"][2]["content"][1]["image_url"]["url"].startswith("data:image/gif;base64,")
        # As when the page goes: whether a browser that is closed still sends it, is the browser's.
        with page.expect_response("**/admin/playground/end"):
            page.evaluate("dispatchEvent(new Event('pagehide'))")
        page.goto("/admin/accounts/apikey/")
        row = page.get_by_role("row").filter(has_text="playground of admin")
        expect(row).to_contain_text("revoked")
