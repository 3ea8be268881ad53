"""The admin from outside: every page asks who one is, every form wants its token, guessing is slowed down."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.models import ApiKey
from providers.models import Provider
from routing.tests.admin_pages import browser, form_of, page
from tests.support.rows import Key, make_key, make_provider, make_staff

pytestmark = pytest.mark.django_db

# What needs no session: where one begins, what only a browser's looks need, and what ends one.
SIGN_ON = {"/admin/oidc/start/", "/admin/oidc/callback/"}
OPEN = {"/admin/login/", "/admin/jsi18n/", "/admin/logout/", *SIGN_ON}
PASSWORD = "a-long-password-of-the-tests"


def _addresses(patterns: Any, before: str = "") -> Iterator[str]:
    """Every address below these patterns, with `1` where one catches something."""
    for pattern in patterns:
        here = before + _filled(str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from _addresses(pattern.url_patterns, here)
        elif isinstance(pattern, URLPattern) and here.startswith("/admin/"):
            yield here


def _filled(route: str) -> str:
    if route.startswith("^"):  # the list of one app's models
        return "routing/"
    if route.startswith("("):  # the admin's net for everything else
        return "nowhere/1/"
    parts = [("1" if part.startswith("<") and part.endswith(">") else part) for part in route.split("/")]
    return "/".join(parts)


ADDRESSES = sorted(set(_addresses(get_resolver().url_patterns, "/")))


@pytest.fixture
def key() -> Key:
    make_provider()
    return make_key()


def test_the_walk_sees_the_pages() -> None:
    assert len(ADDRESSES) > 60
    assert {"/admin/routing/route/1/change/", "/admin/explain.json", "/admin/lint/"} <= set(ADDRESSES)


@pytest.mark.parametrize("method", ["get", "post", "put", "delete", "patch"])
def test_s10_s41_no_page_of_the_admin_takes_a_gateways_key(key: Key, method: str) -> None:
    """A key of the API is nobody here, in whichever header it comes."""
    client = Client(headers={"authorization": f"Bearer {key}", "x-api-key": str(key)})
    told = {url: getattr(client, method)(url) for url in ADDRESSES if url not in OPEN}
    for url, response in told.items():
        # A method that is nobody's may be refused before who asks.
        refused = (302, 401, 403) if method in ("get", "post") else (302, 401, 403, 405)
        assert response.status_code in refused, (url, response.status_code)
        if response.status_code == 302:
            assert response.headers["location"].startswith("/admin/login/"), url
    assert Provider.objects.count() == 1


def test_s41_staff_without_a_right_see_no_row(key: Key) -> None:
    client = browser(make_staff(name="nobody"))
    seen = {url for url in ADDRESSES if url not in OPEN and client.get(url).status_code == 200}
    # The first page and the search, which are empty for them, their own password, and no model's page at all.
    assert seen <= {"/admin/", "/admin/search/", "/admin/password_change/", "/admin/password_change/done/"}
    ApiKey.objects.update(label="hidden-label")
    for url in ("/admin/", "/admin/search/?s=hidden", "/admin/search/?s=hidden&extended=1"):
        assert "hidden-label" not in client.get(url).content.decode(), url


def test_s37_every_form_wants_the_token_of_its_page(key: Key) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("owner"))
    for url in ADDRESSES:
        response = client.post(url, {"confirm": "yes", "post": "yes", "name": "taken"})
        # Some refuse the method before they look for a token, some addresses are of rows that are not there.
        assert response.status_code in (403, 405), (url, response.status_code)
    assert Provider.objects.get().enabled


def test_s37_a_form_from_another_page_is_refused(key: Key) -> None:
    client = Client(enforce_csrf_checks=True, headers={"origin": "https://evil.example"})
    client.force_login(User.objects.create_superuser("owner"))
    url = page("providers_provider_change", Provider.objects.get().pk)
    form = form_of(client, url) | {"name": "taken"}
    form["csrfmiddlewaretoken"] = client.cookies["gateway_csrf"].value
    assert client.post(url, form).status_code == 403
    assert client.post(url, form, headers={"origin": "http://testserver"}).status_code == 302
    assert Provider.objects.get().name == "taken"


def test_s37_pages_stay_in_their_frame_and_are_kept_by_nobody() -> None:
    client = browser(User.objects.create_superuser("owner"))
    for url in ("/admin/", "/admin/providers/provider/"):
        response = client.get(url, secure=True)
        assert response.headers["x-frame-options"] == "DENY"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "same-origin"
        assert response.headers["cross-origin-opener-policy"] == "same-origin"
        assert "max-age=31536000" in response.headers["strict-transport-security"]
        assert "no-store" in response.headers["cache-control"]
        rules = dict(rule.split(" ", 1) for rule in response.headers["content-security-policy"].split("; "))
        # Nothing is loaded from elsewhere or sent there: no rule has a host or a star.
        assert {word for rule in rules.values() for word in rule.split()} <= {
            "'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "data:",
        }  # fmt: skip
        assert [rules[name] for name in ("default-src", "frame-ancestors", "base-uri", "object-src")] == [
            "'self'", "'none'", "'none'", "'none'",
        ]  # fmt: skip
        assert "access-control-allow-origin" not in response.headers


# --- Guessing passwords


def _login(name: str, password: str, address: str) -> Any:
    form = {"username": name, "password": password, "next": "/admin/"}
    return Client(REMOTE_ADDR=address).post("/admin/login/", form)


def test_s38_one_account_is_closed_whichever_addresses_guess() -> None:
    User.objects.create_superuser("owner", password=PASSWORD)
    said = [_login("owner", f"wrong-{number}", f"192.0.2.{number}").status_code for number in range(12)]
    assert said[0] == 200
    assert said[-1] == 429
    assert _login("owner", PASSWORD, "198.51.100.1").status_code == 429
    # Whoever else works here is let in meanwhile.
    User.objects.create_superuser("other", password=PASSWORD)
    assert _login("other", PASSWORD, "198.51.100.1").status_code == 302


def test_s38_one_address_is_closed_whichever_accounts_it_guesses() -> None:
    User.objects.create_superuser("owner", password=PASSWORD)
    said = [_login(f"user-{number}", "wrong", "192.0.2.1").status_code for number in range(12)]
    assert said[-1] == 429
    assert _login("owner", PASSWORD, "192.0.2.1").status_code == 429
    assert _login("owner", PASSWORD, "198.51.100.1").status_code == 302


def test_s38_who_logs_in_as_himself_gets_no_more_guesses_of_anothers() -> None:
    User.objects.create_superuser("owner", password=PASSWORD)
    User.objects.create_user("insider", password=PASSWORD, is_staff=True)

    def turn(round_: int) -> list[int]:
        said = [_login("owner", f"wrong-{round_}-{number}", "192.0.2.1").status_code for number in range(4)]
        _login("insider", PASSWORD, "192.0.2.1")
        return said

    said = [status for round_ in range(4) for status in turn(round_)]
    assert said[:9] == [200] * 9
    assert set(said[10:]) == {429}
    # His own failures are taken back by it.
    User.objects.create_user("clumsy", password=PASSWORD, is_staff=True)
    for _ in range(2):
        assert {_login("clumsy", "wrong", "192.0.2.9").status_code for _ in range(8)} == {200}
        assert _login("clumsy", PASSWORD, "192.0.2.9").status_code == 302


def test_s38_nobody_learns_which_accounts_there_are() -> None:
    User.objects.create_superuser("owner", password=PASSWORD)
    known, unknown = (_login(name, "wrong", "192.0.2.7") for name in ("owner", "nobody"))
    assert (known.status_code, unknown.status_code) == (200, 200)
    errors = [response.context["form"].non_field_errors() for response in (known, unknown)]
    assert errors[0] == errors[1]
