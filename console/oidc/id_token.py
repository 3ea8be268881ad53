"""Checks an ID token: who signed it, for whom, when, and for which sign-in."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from console.oidc.errors import SignInError
from console.oidc.keys import ALGORITHMS

# Clocks are not the same everywhere.
LEEWAY_SECONDS = 60
# A token is asked for and used within one sign-in, which may take as long as its cookie lasts.
OLDEST_SECONDS = 600
# With hundreds of groups; the library then bounds each of its parts.
_MOST_TOKEN = 64 * 1024
_MOST_SUBJECT = 255


@dataclass(frozen=True, slots=True)
class Expected:
    """What a token must be of: this issuer, for this client, and with the nonce of this sign-in."""

    issuer: str
    client_id: str
    nonce: str


KeysOf = Callable[[str | None], list[RSAKey | ECKey]]


def read(token: str, keys_of: KeysOf, expected: Expected, now: float) -> Mapping[str, Any]:
    """The claims of a token that is good. Raises SignInError, and what `keys_of` raises."""
    claims = _signed(token, keys_of)
    if claims.get("iss") != expected.issuer:
        raise SignInError("the token is of another issuer")
    _check_audience(claims, expected.client_id)
    _check_times(claims, now)
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), expected.nonce.encode()):
        raise SignInError("the token is of another sign-in")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _MOST_SUBJECT or not subject.isprintable():
        raise SignInError("the token names nobody")
    return claims


def _signed(token: str, keys_of: KeysOf) -> Mapping[str, Any]:
    if len(token) > _MOST_TOKEN or not token.isascii():
        raise SignInError("the token is no token")
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError, RecursionError):
        raise SignInError("the token is no token") from None
    algorithm, kid = header.get("alg"), header.get("kid")
    # Before a key is looked for: what says `none` or names a symmetric one is refused whatever the key.
    if algorithm not in ALGORITHMS:
        raise SignInError("the token is signed in a way that is not accepted")
    for key in keys_of(kid if isinstance(kid, str) else None):
        payload = _payload(token, key, str(algorithm))
        if payload is not None:
            break
    else:
        raise SignInError("the token's signature is wrong")
    try:
        claims = orjson.loads(payload)
    except orjson.JSONDecodeError:
        claims = None
    if not isinstance(claims, dict):
        raise SignInError("the token is no token")
    return claims


def _payload(token: str, key: RSAKey | ECKey, algorithm: str) -> bytes | None:
    # A header that nobody knows does no harm unless it says that it must be understood, which is checked.
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    try:
        payload = jws.deserialize_compact(token.encode(), key, registry=registry).payload
    except (JoseError, ValueError, RecursionError):
        return None
    return bytes(payload)


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience, party = claims.get("aud"), claims.get("azp")
    several = audience if isinstance(audience, list) else [audience]
    if client_id not in several or party not in (None, client_id):
        raise SignInError("the token is for another client")
    if len(several) > 1 and party is None:
        raise SignInError("the token is for several clients and does not say which asked")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    ends, made, begins = _moment(claims, "exp"), _moment(claims, "iat"), _moment(claims, "nbf")
    if ends is None or made is None:
        raise SignInError("the token does not say how long it holds")
    if ends <= now - LEEWAY_SECONDS or made < now - OLDEST_SECONDS:
        raise SignInError("the token has expired")
    if made > now + LEEWAY_SECONDS or (begins is not None and begins > now + LEEWAY_SECONDS):
        raise SignInError("the token is of the future: are the clocks right?")


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SignInError("the token does not say how long it holds")
    return float(value)
