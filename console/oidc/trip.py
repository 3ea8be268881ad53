"""One sign-in on its way to the identity provider and back: a signed cookie of this browser, for ten minutes,
that is good once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import asdict, dataclass, field, fields
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.core import signing
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.identities import SpentSignIn
from console.oidc.errors import SignInError
from console.oidc.id_token import OLDEST_SECONDS
from console.oidc.identity_provider import Metadata
from console.oidc.settings import OidcSettings

# The admin's own cookies are Strict, and so are not sent by a browser that comes back from elsewhere.
COOKIE = "gateway_sign_in"
_SALT = "console.oidc.trip"
_MOST_NEXT = 1000


@dataclass(frozen=True, slots=True)
class Trip:
    """`next`: a local path for afterwards."""

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    next: str

    def address(self, metadata: Metadata, settings: OidcSettings) -> str:
        """Where the browser is sent."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest())
        asked = {
            "response_type": "code",
            "client_id": settings.client_id,
            "redirect_uri": redirect_uri(settings),
            "scope": settings.scopes,
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        joint = "&" if "?" in metadata.authorization else "?"
        return f"{metadata.authorization}{joint}{urlencode(asked)}"

    def spend(self) -> None:
        """Only once, on whichever replica. Raises SignInError."""
        now = timezone.now()
        SpentSignIn.objects.filter(at__lt=now - timedelta(seconds=2 * OLDEST_SECONDS)).delete()
        digest = hashlib.sha256(self.state.encode()).hexdigest()
        try:
            with transaction.atomic():
                SpentSignIn.objects.create(digest=digest, at=now)
        except IntegrityError:
            raise SignInError("this sign-in was completed before") from None


def new_trip(wanted: str) -> Trip:
    """`wanted`: where somebody wants to go afterwards."""
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    return Trip(state, nonce, verifier, local_path(wanted))


def keep(response: HttpResponseBase, trip: Trip, settings: OidcSettings) -> None:
    """Give the cookie to the browser."""
    response.set_cookie(
        COOKIE,
        signing.dumps(asdict(trip), salt=_SALT),
        max_age=OLDEST_SECONDS,
        path=reverse("oidc_callback"),
        secure=settings.public_url.startswith("https://"),
        httponly=True,
        samesite="Lax",
    )


def forget(response: HttpResponseBase) -> None:
    """Take the cookie back."""
    response.delete_cookie(COOKIE, path=reverse("oidc_callback"), samesite="Lax")


def kept_trip(request: HttpRequest) -> Trip | None:
    """The trip that this answer belongs to; None where this browser began none, or another one."""
    try:
        said: Any = signing.loads(request.COOKIES.get(COOKIE, ""), salt=_SALT, max_age=OLDEST_SECONDS)
        trip = Trip(**{each.name: str(said[each.name]) for each in fields(Trip)})
    except (signing.BadSignature, KeyError, TypeError, ValueError):
        return None
    given = request.GET.get("state", "")
    return trip if hmac.compare_digest(given.encode(), trip.state.encode()) else None


def redirect_uri(settings: OidcSettings) -> str:
    """From what is configured: a Host header is anybody's."""
    return settings.public_url + reverse("oidc_callback")


def local_path(wanted: str) -> str:
    """`wanted` where it is a path of this gateway, else the admin's first page."""
    home = reverse("admin:index")
    if not wanted.startswith("/") or len(wanted) > _MOST_NEXT or not wanted.isprintable() or "\\" in wanted:
        return home
    # Not to where one signs in: that would go round and round.
    if wanted.startswith((reverse("oidc_start"), reverse("oidc_callback"), reverse("admin:login"))):
        return home
    return wanted if url_has_allowed_host_and_scheme(wanted, allowed_hosts=None) else home
