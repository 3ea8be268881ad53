"""Logging out of what single sign-on opened: here always, at the provider where that is wanted."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.audit import AuditEntry
from console.oidc.identity_provider import KEPT_SECONDS, IdentityProvider
from console.tests.signing_on import PUBLIC, Hands, signed_in, signing_on, who
from tests.support.fake_idp import FakeIdp

pytestmark = pytest.mark.django_db
DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
def both(idp: FakeIdp, clock: Hands) -> Iterator[IdentityProvider]:
    """Logging out is to end both sessions."""
    idp.document = {"end_session_endpoint": f"{idp.issuer}/logout?realm=main"}
    with signing_on(idp, clock, logout=True) as provider:
        yield provider


def out(client: Client) -> Any:
    reply = client.post("/admin/logout/")
    assert who(client) is None
    assert client.get("/admin/").status_code == 302
    return reply


def there(reply: Any) -> str:
    """Where its page leads; "" for nowhere else."""
    found = re.search(r'content="0; url=([^"]+)"', reply.content.decode())
    return html.unescape(found[1]) if found else ""


def test_who_logs_out_is_sent_to_the_provider_and_comes_back(both: IdentityProvider, idp: FakeIdp) -> None:
    client = Client()
    signed_in(client)
    reply = out(client)
    assert reply.headers["referrer-policy"] == "no-referrer"
    assert "no-store" in reply.headers["cache-control"]
    url = urlsplit(there(reply))
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{idp.issuer}/logout"
    said = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert len(said.pop("id_token_hint").split(".")) == 3
    assert said == {
        "realm": "main",
        "client_id": "gateway",
        "post_logout_redirect_uri": f"{PUBLIC}/admin/login/",
    }
    back = httpx.get(there(reply), follow_redirects=False)
    assert back.headers["location"] == f"{PUBLIC}/admin/login/"
    assert AuditEntry.objects.filter(object="user alice", action="logged out").count() == 1


def test_unless_it_is_wanted_the_session_ends_here_alone(on: IdentityProvider, idp: FakeIdp) -> None:
    idp.document = {"end_session_endpoint": f"{idp.issuer}/logout"}
    client = Client()
    signed_in(client)
    assert "eyJ" not in str(dict(client.session))
    assert there(out(client)) == ""


@pytest.mark.parametrize("endpoint", [None, 7, "javascript:alert(1)", "http://evil.example/logout"])
def test_a_provider_that_has_no_such_place(both: IdentityProvider, idp: FakeIdp, endpoint: object) -> None:
    idp.document = {"end_session_endpoint": endpoint}
    client = Client()
    signed_in(client)
    assert there(out(client)) == ""


def test_while_the_provider_is_down_the_session_ends_here(
    both: IdentityProvider, idp: FakeIdp, clock: Hands
) -> None:
    client = Client()
    signed_in(client)
    clock.now += KEPT_SECONDS + 1
    idp.faults[DISCOVERY] = "down"
    assert there(out(client)) == ""


def test_who_came_by_a_password_is_sent_nowhere(both: IdentityProvider) -> None:
    client = Client()
    client.force_login(
        User.objects.create_superuser("root"), backend="django.contrib.auth.backends.ModelBackend"
    )
    assert there(out(client)) == ""


def test_a_token_too_long_for_an_address_is_left_out(both: IdentityProvider, idp: FakeIdp) -> None:
    idp.person |= {"groups": ["crew", *(f"group-{number}" for number in range(500))]}
    client = Client()
    signed_in(client)
    assert set(parse_qs(urlsplit(there(out(client))).query)) == {
        "realm",
        "client_id",
        "post_logout_redirect_uri",
    }


def test_a_link_on_a_page_logs_nobody_out(both: IdentityProvider) -> None:
    client = Client(enforce_csrf_checks=True)
    signed_in(client)
    before = who(client)
    assert client.get("/admin/logout/").status_code == 405
    assert client.post("/admin/logout/").status_code == 403
    assert who(client) == before is not None
