"""Single sign-on for people: who is let in, as whom, with which roles, and who is not."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts.audit import AuditEntry
from accounts.identities import Identity, SpentSignIn
from console.oidc.identity_provider import IdentityProvider
from console.tests.signing_on import CALLBACK, PUBLIC, START, Hands, signed_in, signing_on, who
from tests.support.fake_idp import FakeIdp

pytestmark = pytest.mark.django_db
PASSWORD = "a-long-password-of-the-tests"


def roles(name: str) -> set[str]:
    return set(User.objects.get(username=name).groups.values_list("name", flat=True))


def test_without_it_there_is_neither_a_button_nor_a_page() -> None:
    assert [Client().get(url).status_code for url in (START, CALLBACK)] == [404, 404]
    page = Client().get("/admin/login/")
    assert page.status_code == 200
    assert "Sign in with" not in page.content.decode()


def test_the_login_page_has_a_button_beside_the_password(on: IdentityProvider) -> None:
    text = Client().get("/admin/login/?next=/admin/lint/").content.decode()
    assert "Sign in with Example" in text
    assert f'href="{PUBLIC}{START}?next=%2Fadmin%2Flint%2F"' in text
    assert 'name="password"' in text


def test_somebody_new_becomes_a_user_with_the_roles_of_his_groups(on: IdentityProvider, idp: FakeIdp) -> None:
    idp.person = {"sub": "1", "preferred_username": "alice", "groups": ["ops", "keys", "unknown"]}
    client = Client()
    page = signed_in(client, "/admin/lint/")
    assert page.status_code == 200
    assert 'content="0; url=/admin/lint/"' in page.content.decode()
    assert "no-store" in page.headers["cache-control"]
    assert page.headers["referrer-policy"] == "no-referrer"
    user = User.objects.get(username="alice")
    assert who(client) == str(user.pk)
    assert (user.is_staff, user.is_superuser, user.has_usable_password()) == (True, False, False)
    assert roles("alice") == {"operator", "key manager"}
    assert client.get("/admin/lint/").status_code == 200
    # What was sent: PKCE, and nothing that is a secret by way of the browser.
    asked = idp.seen["/authorize"]
    assert (asked["code_challenge_method"], asked["response_type"]) == ("S256", "code")
    assert set(asked) == {
        "response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge",
        "code_challenge_method",
    }  # fmt: skip
    assert "client_secret" not in idp.seen["/token"]


def test_the_audit_log_has_the_user_the_identity_and_the_login(on: IdentityProvider) -> None:
    signed_in(Client())
    told = set(AuditEntry.objects.values_list("object", "action"))
    assert {("user alice", "added"), ("user alice", "changed"), ("user alice", "logged in")} <= told
    assert any(what.startswith("identity 1 at http") for what, _ in told)
    assert AuditEntry.objects.get(object="user alice", action="changed").reason == "single sign-on"


def test_a_second_login_is_the_same_user_whatever_he_is_called_now(
    on: IdentityProvider, idp: FakeIdp
) -> None:
    signed_in(Client())
    idp.person |= {"preferred_username": "bob", "email": "bob@example.com"}
    signed_in(Client())
    assert list(User.objects.values_list("username", flat=True)) == ["alice"]
    # Two at the identity provider are two here, though one has taken the other's name.
    idp.person |= {"sub": "2", "preferred_username": "alice"}
    signed_in(Client())
    assert Identity.objects.count() == User.objects.count() == 2


@pytest.mark.parametrize("name", ["admin", "Admin", "\uff21\uff24\uff2d\uff29\uff2e"])
def test_s58_a_local_user_of_that_name_and_address_is_somebody_else(
    on: IdentityProvider, idp: FakeIdp, name: str
) -> None:
    local = User.objects.create_superuser("admin", "root@example.com", PASSWORD)
    idp.person |= {"preferred_username": name, "email": "root@example.com", "email_verified": True}
    client = Client()
    assert signed_in(client).status_code == 200
    assert who(client) not in (None, str(local.pk))
    made = User.objects.get(identities__subject="1")
    assert not made.is_superuser
    assert made.username.lower().startswith("admin-")
    local.refresh_from_db()
    assert local.check_password(PASSWORD)
    assert not local.groups.exists()


def test_a_superuser_may_bind_a_local_user_by_hand(on: IdentityProvider, idp: FakeIdp) -> None:
    local = User.objects.create_user("carol", is_staff=True)
    Identity.objects.create(user=local, issuer=idp.issuer, subject="77")
    idp.person |= {"sub": "77"}
    client = Client()
    signed_in(client)
    assert who(client) == str(local.pk)


def test_s58_a_group_that_is_lost_takes_its_role_at_the_next_login(
    on: IdentityProvider, idp: FakeIdp
) -> None:
    idp.person |= {"groups": ["ops", "crew"]}
    signed_in(Client())
    idp.person |= {"groups": ["crew"]}
    signed_in(Client())
    assert roles("alice") == {"viewer"}


def test_s58_who_has_lost_every_group_is_refused_and_keeps_no_role(
    on: IdentityProvider, idp: FakeIdp
) -> None:
    old = Client()
    signed_in(old)
    assert old.get("/admin/lint/").status_code == 200
    idp.person |= {"groups": []}
    client = Client()
    page = signed_in(client)
    assert page.status_code == 403
    assert "None of your groups has a role here" in page.content.decode()
    assert who(client) is None
    assert roles("alice") == set()
    # His other session may nothing any more, either.
    assert old.get("/admin/lint/").status_code == 403
    refused = AuditEntry.objects.get(action="login refused")
    assert (refused.object, refused.changes) == (
        "single sign-on",
        {"why": "no group of user alice has a role"},
    )


@pytest.mark.parametrize("groups", [None, [], ["unknown"], "unknown", {"crew": True}, [["crew"]], 7])
def test_s58_a_stranger_without_a_group_leaves_nothing_behind(
    on: IdentityProvider, idp: FakeIdp, groups: object
) -> None:
    idp.person |= {"groups": groups}
    assert signed_in(Client()).status_code == 403
    assert not User.objects.exists()
    assert not Identity.objects.exists()


def test_one_group_may_come_as_a_word_and_a_role_that_is_not_there_is_left_out(
    on: IdentityProvider, idp: FakeIdp
) -> None:
    idp.person |= {"groups": "heads"}
    assert signed_in(Client()).status_code == 200
    assert roles("alice") == {"owner"}


@pytest.mark.parametrize("column", ["is_active", "is_staff"])
def test_s58_a_user_who_is_switched_off_is_refused(on: IdentityProvider, idp: FakeIdp, column: str) -> None:
    signed_in(Client())
    User.objects.update(**{column: False})
    client = Client()
    page = signed_in(client)
    assert page.status_code == 403
    assert "switched off" in page.content.decode()
    assert who(client) is None
    assert not getattr(User.objects.get(), column)


@pytest.mark.parametrize("person", [
    {"preferred_username": "x" * 5000, "email": "y" * 5000 + "@example.com"},
    {"preferred_username": "<script>alert(1)</script>", "email": "no address"},
    {"preferred_username": ["a"], "email": {"a": 1}},
    {"preferred_username": "\u0430\0dmin", "email": None},
    {"preferred_username": None, "email": None, "sub": "x" * 255},
])  # fmt: skip
def test_odd_names_become_plain_ones(on: IdentityProvider, idp: FakeIdp, person: dict[str, object]) -> None:
    idp.person |= person
    client = Client()
    assert signed_in(client).status_code == 200
    user = User.objects.get()
    user.full_clean(exclude=["password"])
    assert user.username.isascii()


@pytest.mark.parametrize("wanted", [
    "https://evil.example/", "//evil.example/", "/\\evil.example", "\\\\evil.example", "javascript:alert(1)",
    "http:evil.example", "///evil.example", "/\t/evil.example", " //evil.example", "evil",
    "/admin/oidc/start/", "/admin/login/?next=/admin/", "/" + "a" * 3000,
])  # fmt: skip
def test_s58_nobody_is_sent_elsewhere_afterwards(on: IdentityProvider, wanted: str) -> None:
    assert 'content="0; url=/admin/"' in signed_in(Client(), wanted).content.decode()


def test_a_path_with_a_query_is_kept_and_is_no_markup(on: IdentityProvider) -> None:
    text = signed_in(Client(), '/admin/explain/?model="><script>&x=1').content.decode()
    assert "/admin/explain/?model=&quot;&gt;&lt;script&gt;&amp;x=1" in text
    assert "<script>" not in text


def test_passwords_open_nothing_where_they_are_switched_off(idp: FakeIdp, clock: Hands) -> None:
    User.objects.create_superuser("root", password=PASSWORD)
    with signing_on(idp, clock, only=True):
        client = Client()
        page = client.get("/admin/login/").content.decode()
        assert "Sign in with Example" in page
        assert 'name="password"' not in page
        told = client.post("/admin/login/", {"username": "root", "password": PASSWORD})
        assert told.status_code == 403
        request = RequestFactory().post("/admin/login/")
        assert authenticate(request, username="root", password=PASSWORD) is None
        assert signed_in(client).status_code == 200
        assert client.get("/admin/").status_code == 200
    # And who came by single sign-on is out where it is switched off.
    assert client.get("/admin/").status_code == 302


def test_a_session_of_somebody_else_in_this_browser_is_not_carried_over(on: IdentityProvider) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    client.session["kept"] = "secret"
    before = client.session.session_key
    signed_in(client)
    assert client.session.session_key != before
    assert "kept" not in client.session


def test_s58_a_session_ends_after_twelve_hours_whatever_is_done_in_it(
    on: IdentityProvider, idp: FakeIdp, monkeypatch: pytest.MonkeyPatch
) -> None:
    idp.person |= {"groups": ["ops"]}
    client = Client()
    signed_in(client)
    ends = Session.objects.get().expire_date
    assert timedelta(hours=11) < ends - timezone.now() <= timedelta(hours=12)
    # An hour before its end he begins a draft, which is kept in the session.
    late = timezone.now() + timedelta(hours=11)
    monkeypatch.setattr(timezone, "now", lambda: late)
    assert client.post("/admin/routing/draft/add/", {"name": "spring", "note": ""}).status_code == 302
    assert "draft" in client.session
    assert Session.objects.get().expire_date == ends


def test_completed_sign_ins_are_forgotten_when_they_are_old(on: IdentityProvider) -> None:
    signed_in(Client())
    SpentSignIn.objects.update(at="2020-01-01T00:00:00Z")
    signed_in(Client())
    assert SpentSignIn.objects.count() == 1
