"""A key rotated in the admin: shown once, bound to the old one, which goes on for the overlap."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from accounts.apps import hasher
from accounts.models import ApiKey, Limit, RequestEntry
from routing.tests.admin_pages import browser, page, published
from tests.support.rows import make_key, make_staff

pytestmark = pytest.mark.django_db


def used(row: ApiKey, name: str) -> None:
    RequestEntry.objects.create(
        request_id=name, at=timezone.now(), team_id=row.team_id, key_id=row.pk, state="settled"
    )


@pytest.mark.parametrize("hours", [0, 1, 24, 168])
def test_a_key_is_rotated(hours: int) -> None:
    old = make_key(label="ci", allowed_models=["gpt-*"]).row
    Limit.objects.create(key=old, kind="requests", amount=5, per="minute")
    root = browser(User.objects.create_superuser("root"))
    address = page("accounts_apikey_rotate", old.pk)
    assert "The old key stops" in root.get(address).content.decode()
    assert published() == []
    before = timezone.now()
    reply = root.post(address, {"overlap": str(hours)})
    new = ApiKey.objects.exclude(pk=old.pk).get()
    key = next(each.text for each in reply.context["snippets"] if each.title == "Key")
    assert hasher().digest(key).hex() == new.digest
    assert (new.replaces, new.label, new.allowed_models, new.limits.count()) == (old, "ci", ["gpt-*"], 1)
    assert "no-store" in reply.headers["cache-control"].split(", ")
    old.refresh_from_db()
    assert old.expires_at is not None
    assert before <= old.expires_at - timedelta(hours=hours) <= timezone.now()
    (revision,) = published()
    assert (revision.author, revision.reason) == ("root", f"key {old.prefix} rotated to {new.prefix}")
    for row in (old, new):
        text = root.get(page("accounts_apikey_change", row.pk)).content.decode()
        assert key not in text
        assert (new if row == old else old).prefix in text


def test_the_page_says_when_the_old_one_is_not_missed() -> None:
    old = make_key().row
    root = browser(User.objects.create_superuser("root"))
    root.post(page("accounts_apikey_rotate", old.pk), {"overlap": "24"})
    new = ApiKey.objects.exclude(pk=old.pk).get()

    def safe() -> bool:
        return bool(root.get(page("accounts_apikey_change", old.pk)).context["original"].use.safe_to_revoke)

    used(old, "req_1")
    assert not safe()
    used(new, "req_2")
    assert safe()
    used(old, "req_3")
    assert not safe()


def test_who_does_not_see_the_teams_requests_does_not_see_use() -> None:
    old = make_key().row
    used(old, "req_1")
    client = browser(make_staff("accounts.view_apikey", name="viewer"))
    reply = client.get(page("accounts_apikey_change", old.pk))
    assert reply.context["original"].use is None
    assert reply.status_code == 200


@pytest.mark.parametrize("overlap", ["", "5", "-1", "x", "99999"])
def test_an_overlap_that_is_not_offered_rotates_nothing(overlap: str) -> None:
    old = make_key().row
    root = browser(User.objects.create_superuser("root"))
    assert root.post(page("accounts_apikey_rotate", old.pk), {"overlap": overlap}).status_code == 200
    assert ApiKey.objects.get() == old


def test_a_key_that_is_over_and_who_may_not_issue() -> None:
    gone, old = make_key(revoked_at=timezone.now()).row, make_key().row
    root = browser(User.objects.create_superuser("root"))
    assert root.post(page("accounts_apikey_rotate", gone.pk), {"overlap": "1"}).status_code == 302
    staff = browser(make_staff("accounts.view_apikey", "accounts.change_apikey", name="staff"))
    assert staff.post(page("accounts_apikey_rotate", old.pk), {"overlap": "1"}).status_code == 403
    assert ApiKey.objects.count() == 2
