"""Secrets at rest: sealed with keys that live outside the database, and bound to what they serve."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class VaultError(Exception):
    """A sealed secret cannot be opened: another key sealed it, it was changed, or it belongs elsewhere."""


class Vault:
    """Seals and opens the secrets of providers.

    `keys`: 32 bytes each, raw or in Fernet's own base64 form; the first seals, all of them open, so that
    a new key in front rotates without a gap.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("a vault needs at least one key")
        fernets = [Fernet(_fernet_key(key)) for key in keys]
        self._newest = fernets[0]
        self._fernet = MultiFernet(fernets)

    def seal(self, secret: str, provider_id: int | str) -> str:
        """A token for the database. The provider's id is inside it, so that no other provider's row can
        make use of it; or the name of whatever else it is sealed for."""
        return self._fernet.encrypt(json.dumps([provider_id, secret]).encode()).decode("ascii")

    def open(self, token: str, provider_id: int | str) -> str:
        """The secret in `token`. Raises VaultError."""
        try:
            owner, secret = json.loads(self._fernet.decrypt(token.encode()))
        except (InvalidToken, ValueError, TypeError) as error:
            raise VaultError("the secret cannot be decrypted with the configured key") from error
        if owner != provider_id or not isinstance(secret, str):
            raise VaultError("the secret was sealed for another provider")
        return secret

    def reseal(self, token: str, provider_id: int | str) -> str:
        """The same secret under the first key: `token` itself where that sealed it. Raises VaultError."""
        secret = self.open(token, provider_id)
        try:
            self._newest.decrypt(token.encode())
        except InvalidToken:
            return self.seal(secret, provider_id)
        return token


def last4(secret: str) -> str:
    """The end of a secret by which people tell it from others; nothing of one so short that it would help."""
    return secret[-4:] if len(secret) >= 16 else ""


def _fernet_key(key: bytes) -> bytes:
    return base64.urlsafe_b64encode(key) if len(key) == 32 else key
