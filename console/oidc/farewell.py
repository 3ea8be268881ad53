"""Logging out at the identity provider too, where a deployment wants it: what OpenID Connect calls
RP-initiated logout."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse

from console.oidc.identity_provider import Metadata
from console.oidc.settings import OidcSettings

_SESSION = "sign_in_token"
# It goes into an address, and servers take eight kilobytes of one. Without it some providers ask once more.
_MOST_HINT = 4096


def remember(request: HttpRequest, token: str, settings: OidcSettings) -> None:
    """Keep in the session what tells the provider whose session there is to end; nothing is opened by it."""
    if settings.logout and len(token) <= _MOST_HINT:
        request.session[_SESSION] = token


def remembered(request: HttpRequest) -> str:
    """What was kept; "" for nothing."""
    kept: str = request.session.get(_SESSION, "")
    return kept


def address(metadata: Metadata, settings: OidcSettings, hint: str) -> str:
    """Where somebody is sent to be logged out, and comes back from to the login page; "" where the provider
    has no such place."""
    if not metadata.end_session:
        return ""
    said = {
        "client_id": settings.client_id,
        "post_logout_redirect_uri": settings.public_url + reverse("admin:login"),
        **({"id_token_hint": hint} if hint else {}),
    }
    joint = "&" if "?" in metadata.end_session else "?"
    return f"{metadata.end_session}{joint}{urlencode(said)}"
