"""A browser of the tests that signs in at the fake identity provider."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
from django.apps import apps
from django.test import Client, override_settings

from console.apps import ConsoleConfig
from console.oidc import backend
from console.oidc.identity_provider import IdentityProvider
from console.oidc.settings import OidcSettings
from console.roles import make_roles
from tests.support.fake_idp import CLIENT, SECRET, FakeIdp

START, CALLBACK = "/admin/oidc/start/", "/admin/oidc/callback/"
PUBLIC = "http://testserver"
ROLES = {
    "crew": frozenset({"viewer"}),
    "ops": frozenset({"operator"}),
    "keys": frozenset({"key manager"}),
    "heads": frozenset({"owner", "no-such-role"}),
}
_MODEL = "django.contrib.auth.backends.ModelBackend"


class Hands:
    """A clock that is moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def signing_on(idp: FakeIdp, clock: Hands, **changed: Any) -> Iterator[IdentityProvider]:
    """Single sign-on is configured, by this provider."""
    settings = OidcSettings(
        issuer=idp.issuer,
        client_id=CLIENT,
        secret=SECRET,
        public_url=PUBLIC,
        label="Example",
        scopes="openid",
        groups_claim="groups",
        roles=ROLES,
        only=False,
        logout=False,
    )
    settings = replace(settings, **changed)
    make_roles()
    console = cast(ConsoleConfig, apps.get_app_config("console"))
    backends = [
        "axes.backends.AxesStandaloneBackend",
        *([] if settings.only else [_MODEL]),
        backend.PATH,
    ]
    console.sign_in = IdentityProvider(settings, clock)
    try:
        with override_settings(AUTHENTICATION_BACKENDS=backends):
            yield console.sign_in
    finally:
        console.sign_in = None


def begun(client: Client, wanted: str = "") -> dict[str, str]:
    """Go to the identity provider and come back as far as the address: what stands in it."""
    away = client.get(START, {"next": wanted} if wanted else {})
    assert away.status_code == 302, away.content
    back = httpx.get(away.headers["location"], follow_redirects=False)
    assert back.status_code == 302
    assert back.headers["location"].startswith(PUBLIC + CALLBACK + "?")
    return {name: values[0] for name, values in parse_qs(urlsplit(back.headers["location"]).query).items()}


def ended(client: Client, answer: dict[str, str]) -> Any:
    """Come back with this."""
    return client.get(f"{CALLBACK}?{urlencode(answer)}")


def signed_in(client: Client, wanted: str = "") -> Any:
    """The whole way: the page at its end."""
    return ended(client, begun(client, wanted))


def who(client: Client) -> str | None:
    """The id of the user whose session it is."""
    found: str | None = client.session.get("_auth_user_id")
    return found
