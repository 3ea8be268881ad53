"""Who calls: a key in a header to its row in the snapshot. No database, no exception to the rule."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from hashlib import blake2b

from accounts.keys import KeyHasher, is_mistyped
from apiv1.inbound import Inbound
from dialects.errors import AUTH, DEPENDENCY, Detail, GatewayError, bad_request
from routing.snapshot import ApiKey, Snapshot

# Longer than any key that was ever issued: hashing more would only be work for whoever sent it.
_MAX_KEY = 512
# Keys in use at a time whose look-up is remembered.
_SEEN = 10_000


class Authenticator:
    """Finds the caller of a request.

    `fresh`: whether the keys in memory are known to be all that there are. While they are not, a key that is
    missing may be a new one, and is told to come again instead of being called wrong. `clock` tells the date,
    in seconds since the epoch.
    """

    def __init__(
        self, hasher: KeyHasher, fresh: Callable[[], bool], clock: Callable[[], float] = time.time
    ) -> None:
        self._hasher = hasher
        self._fresh = fresh
        # Keys that were found in the present snapshot, by a digest that is cheap and means nothing to any
        # other process. The keys themselves stay nowhere.
        self._seen: dict[bytes, ApiKey] = {}
        self._snapshot: Snapshot | None = None
        self._salt = secrets.token_bytes(32)
        self._clock = clock

    def caller(self, inbound: Inbound, snapshot: Snapshot) -> ApiKey:
        """The key's row. Raises GatewayError: 401 without a valid key, 400 where the headers contradict,
        503 for an unknown key while the configuration cannot be read."""
        key = presented_key(inbound)
        found = self._find(key, snapshot)
        if found is None:
            if is_mistyped(key) or self._fresh():
                raise _refused("The API key is not valid.")
            raise GatewayError(
                DEPENDENCY, "The gateway cannot check this key at the moment.", Detail(retry_after=5)
            )
        if found.expires_at is not None and found.expires_at.timestamp() <= self._clock():
            raise _refused("The API key has expired.", code="expired_api_key")
        return found

    def _find(self, key: str, snapshot: Snapshot) -> ApiKey | None:
        if snapshot is not self._snapshot or len(self._seen) >= _SEEN:
            self._snapshot = snapshot
            self._seen.clear()
        mark = blake2b(key.encode("utf-8", "surrogatepass"), key=self._salt, digest_size=32).digest()
        seen = self._seen.get(mark)
        if seen is None:
            seen = self._look_up(key, snapshot)
            if seen is not None:
                self._seen[mark] = seen
        return seen

    def _look_up(self, key: str, snapshot: Snapshot) -> ApiKey | None:
        for digest in self._hasher.digests(key):
            found = snapshot.keys.get(digest)
            if found is not None and hmac.compare_digest(found.digest, digest):
                return found
        return None


def presented_key(inbound: Inbound) -> str:
    """The key as the client sent it, from either header that the SDKs use."""
    if "authorization" in inbound.duplicates or "x-api-key" in inbound.duplicates:
        raise bad_request("The key was sent twice in the same header.", code="ambiguous_api_key")
    bearer = _bearer(inbound.headers.get("authorization"))
    header = inbound.headers.get("x-api-key")
    if header is not None:
        header = header.strip()
    if bearer and header and bearer != header:
        raise bad_request(
            "Authorization and x-api-key carry different keys; send one.", code="ambiguous_api_key"
        )
    key = bearer or header
    if not key:
        raise _refused(
            "No API key was sent. Use the header Authorization: Bearer KEY, or x-api-key: KEY.",
            code="missing_api_key",
        )
    if len(key) > _MAX_KEY:
        raise _refused("The API key is not valid.")
    return key


def _bearer(value: str | None) -> str | None:
    if value is None:
        return None
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer":
        raise _refused("The Authorization header must have the form: Bearer KEY.")
    return token.strip()


def _refused(message: str, code: str | None = None) -> GatewayError:
    return GatewayError(AUTH, message, Detail(code=code, headers=(("www-authenticate", "Bearer"),)))
