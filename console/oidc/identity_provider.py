"""The identity provider as it describes itself: its endpoints and its keys, fetched when they are needed and
kept for an hour, and codes redeemed at it. From the pages' threads, one question at a time."""

from __future__ import annotations

import functools
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from joserfc.jwk import ECKey, RSAKey

from console.oidc.errors import SignInError, UnavailableError
from console.oidc.fetch import get, post
from console.oidc.keys import usable_keys
from console.oidc.settings import OidcSettings, is_safe_url
from providers.transport import default_tls

# Endpoints hardly ever move, and a withdrawn key should not be believed much longer.
KEPT_SECONDS = 3600.0
# Anybody can make us ask; who is down is left alone for so long.
PAUSE_SECONDS = 5.0
# A token with a key that is not known makes us look again, so often at most.
AGAIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Metadata:
    """What of the discovery document is used. `basic`: the client's secret goes as HTTP Basic, else in the
    form. `names_itself`: each of its answers says who it is (RFC 9207). `end_session`: where somebody logs
    out of it; "" for nowhere."""

    authorization: str
    token: str
    keys: str
    basic: bool
    names_itself: bool
    end_session: str


class IdentityProvider:
    """One for the process."""

    def __init__(self, settings: OidcSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, Mapping[str | None, list[RSAKey | ECKey]]] | None = None
        self._failed: float | None = None

    def metadata(self) -> Metadata:
        """Raises UnavailableError."""
        with self._lock:
            return self._known_metadata()

    def keys(self, kid: str | None) -> list[RSAKey | ECKey]:
        """The keys of this id, of every key where there is none; asks again for an id that is new. Raises
        SignInError, UnavailableError."""
        with self._lock:
            if self._keys is None or self._clock() - self._keys[0] > KEPT_SECONDS:
                self._keys = self._fetched_keys()
            found = self._of(kid)
            if not found and self._clock() - self._keys[0] > AGAIN_SECONDS:
                self._keys = self._fetched_keys()
                found = self._of(kid)
            if not found:
                raise SignInError("the token names a key that the identity provider does not publish")
            return found

    def redeem(self, code: str, verifier: str, redirect_uri: str) -> str:
        """The ID token for a code, not checked. Raises SignInError, UnavailableError."""
        metadata, settings = self.metadata(), self.settings
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        auth = None
        if settings.secret is not None and metadata.basic:
            # Both are form-encoded first: RFC 6749, 2.3.1.
            auth = (quote_plus(settings.client_id), quote_plus(settings.secret))
        else:
            form["client_id"] = settings.client_id
            if settings.secret is not None:
                form["client_secret"] = settings.secret
        answer = post(metadata.token, self._tls, form, auth)
        if answer.status >= 500:
            raise UnavailableError(f"identity provider: {answer.status} for a code")
        token = answer.body.get("id_token")
        if answer.status != 200 or not isinstance(token, str):
            raise SignInError("the identity provider does not take the code")
        return token

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        return default_tls()

    def _of(self, kid: str | None) -> list[RSAKey | ECKey]:
        assert self._keys is not None  # noqa: S101 - for the type: keys() has just fetched them
        table = self._keys[1]
        return [key for keys in table.values() for key in keys] if kid is None else list(table.get(kid, ()))

    def _known_metadata(self) -> Metadata:
        if self._metadata is None or self._clock() - self._metadata[0] > KEPT_SECONDS:
            url = self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
            self._metadata = (self._clock(), self._guarded(url, self._read_metadata))
        return self._metadata[1]

    def _fetched_keys(self) -> tuple[float, Mapping[str | None, list[RSAKey | ECKey]]]:
        return self._clock(), self._guarded(self._known_metadata().keys, usable_keys)

    def _guarded(self, url: str, read: Callable[[Mapping[str, Any]], Any]) -> Any:
        if self._failed is not None and self._clock() - self._failed < PAUSE_SECONDS:
            raise UnavailableError("identity provider: did not answer a moment ago")
        try:
            answer = get(url, self._tls)
            if answer.status != 200:
                raise UnavailableError(f"identity provider: {answer.status} for what it publishes")
            found = read(answer.body)
        except UnavailableError:
            self._failed = self._clock()
            raise
        self._failed = None
        return found

    def _is_safe(self, url: object) -> bool:
        """As settings say it; and a provider elsewhere has no endpoint on this machine in the clear."""
        plain = self.settings.issuer.startswith("http://")
        return is_safe_url(url) and (plain or str(url).startswith("https://"))

    def _read_metadata(self, document: Mapping[str, Any]) -> Metadata:
        # Another issuer is another provider, whose tokens would be taken for this one's.
        if document.get("issuer") != self.settings.issuer:
            raise UnavailableError("identity provider: its discovery document is of another issuer")
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        endpoints = [str(document.get(name, "")) for name in names]
        if not all(map(self._is_safe, endpoints)):
            raise UnavailableError("identity provider: an endpoint is missing or not HTTPS")
        end = document.get("end_session_endpoint")
        ways = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        return Metadata(
            authorization=endpoints[0],
            token=endpoints[1],
            keys=endpoints[2],
            basic=not isinstance(ways, list) or "client_secret_basic" in ways,
            names_itself=document.get("authorization_response_iss_parameter_supported") is True,
            # It is no part of signing in, which goes on without it.
            end_session=str(end) if self._is_safe(end) else "",
        )
