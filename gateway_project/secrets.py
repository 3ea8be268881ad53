"""One master secret, and the three keys that are derived from it; and what an admin's password must be."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

# 32 characters of a random secret are at least 128 bits, whatever alphabet made them.
MIN_LENGTH = 32
_FILE = "secret_key"


class WeakSecretError(ValueError):
    """There is no master secret, or it is too short. Its text never holds the secret."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """Django's keys, the peppers of gateway keys, and the keys of the vault. The first of each is in use, the
    others are those from before a rotation: they still verify and open, and sign and seal nothing."""

    django_keys: tuple[str, ...] = field(repr=False)
    peppers: tuple[bytes, ...] = field(repr=False)
    vault_keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def derived(cls, master: str, *old: str) -> Secrets:
        """HKDF-SHA-256 with a label each, so that none tells anything of another."""
        masters = (master, *old)
        return cls(
            django_keys=tuple(
                base64.urlsafe_b64encode(_derive(each, b"django secret key", 48)).decode("ascii")
                for each in masters
            ),
            peppers=tuple(_derive(each, b"gateway key pepper", 32) for each in masters),
            vault_keys=tuple(_derive(each, b"credential vault", 32) for each in masters),
        )


def master_secret(given: str | None, folder: Path, *, production: bool) -> str:
    """The master secret: as given, else in development the one kept in `folder`, made on the first start.

    Raises WeakSecretError; OSError where the folder cannot be written.
    """
    if given is not None:
        return check_strength(given)
    if production:
        raise WeakSecretError("production needs one; make it with `openssl rand -hex 32` and keep it")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / _FILE
    with contextlib.suppress(FileNotFoundError):
        kept = path.read_text(encoding="ascii").strip()
        if len(kept) >= MIN_LENGTH:
            return kept
        raise WeakSecretError(f"{path} is damaged: restore it, or delete it and issue all keys anew")
    return _make(path)


def check_strength(given: str) -> str:
    """`given` itself. Raises WeakSecretError."""
    if len(given) < MIN_LENGTH or len(set(given)) < 8:
        raise WeakSecretError(
            f"too weak: at least {MIN_LENGTH} random characters, as `openssl rand -hex 32` makes them"
        )
    return given


def _make(path: Path) -> str:
    """A new secret in `path`, readable by its owner only. Of processes that start at once the first wins."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)  # mkstemp lets only the owner read
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(48) + "\n")
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    return path.read_text(encoding="ascii").strip()


def _derive(master: str, label: bytes, length: int) -> bytes:
    kdf = HKDF(algorithm=SHA256(), length=length, salt=b"llm-gateway", info=label)
    return kdf.derive(master.encode())


def check_password(text: str) -> str:
    """The admin's password as a file or an orchestrator sets it. Raises ValueError."""
    # Django's own validators judge passwords that people choose in the admin; this is the floor.
    if len(text) < 8:
        raise ValueError("a password needs at least 8 characters")
    return text
