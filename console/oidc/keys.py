"""Which keys of an identity provider may sign an ID token: public ones of RSA and elliptic curves, of sane
size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from console.oidc.errors import UnavailableError

# All are asymmetric: with a symmetric one among them, a public key could be taken for a secret.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
# Below it can be factored; above, one check takes seconds.
_LEAST_BITS, _MOST_BITS = 2048, 8192
_MOST_EXPONENT = 8
# A provider has a handful.
_MOST_KEYS = 64


def usable_keys(document: Mapping[str, Any]) -> dict[str | None, list[RSAKey | ECKey]]:
    """The keys of a JWK set by their ids; what is of no use here is left out. Raises UnavailableError where
    nothing is left."""
    found: dict[str | None, list[RSAKey | ECKey]] = {}
    listed = document.get("keys")
    for each in listed[:_MOST_KEYS] if isinstance(listed, list) else ():
        key = _key(each) if isinstance(each, dict) else None
        if key is not None:
            kid = each.get("kid")
            found.setdefault(kid if isinstance(kid, str) else None, []).append(key)
    if not found:
        raise UnavailableError("identity provider: it publishes no key that can be used")
    return found


def _key(row: Mapping[str, Any]) -> RSAKey | ECKey | None:
    if row.get("use", "sig") != "sig" or row.get("alg", ALGORITHMS[0]) not in ALGORITHMS:
        return None
    try:
        if row.get("kty") == "RSA" and len(str(row.get("e"))) <= _MOST_EXPONENT:
            key = RSAKey.import_key({"kty": "RSA", "n": str(row["n"]), "e": str(row["e"])})
            return key if _LEAST_BITS <= key.public_key.key_size <= _MOST_BITS else None
        if row.get("kty") == "EC":
            return ECKey.import_key({name: str(row[name]) for name in ("kty", "crv", "x", "y")})
    except (JoseError, ValueError, KeyError, TypeError):
        return None
    return None
