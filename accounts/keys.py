"""Gateway keys: how one is made, recognised as mistyped, hashed, and shown without giving it away."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import string
import zlib
from collections.abc import Iterator

_ALPHABET = string.digits + string.ascii_letters
_MARK = "gw-"
# The public part names a key in lists and logs: 62^8 names, so two alike are an accident that never comes.
_PUBLIC = 8
# 43 letters of 62 are 256.03 bits: nobody guesses one, and no slow hash is needed to protect it.
_SECRET = 43
# CRC-32 in base 62. It catches typing errors, not forgers.
_TAIL = 6
_LENGTH = len(_MARK) + _PUBLIC + _SECRET + _TAIL

# A key that somebody chose is guessed sooner than one that was drawn; shorter ones are refused.
MIN_CHOSEN = 16


class WeakKeyError(ValueError):
    """A chosen key is too short or cannot be sent in a header. Its text never holds the key."""


class KeyHasher:
    """Keys to digests under a pepper, which lives outside the database.

    `pepper`: at least 16 bytes. Whoever has the table but not the pepper can check no guess. `old`: peppers
    from before a rotation; keys that were issued under them are still found, new ones never made so.
    """

    def __init__(self, pepper: bytes, *old: bytes) -> None:
        self._peppers = (pepper, *old)
        if any(len(each) < 16 for each in self._peppers):
            raise ValueError("the pepper of gateway keys must have at least 16 bytes")

    def digest(self, key: str) -> bytes:
        """HMAC-SHA-256 of the key, 32 bytes. Any text has one; the same text always the same."""
        return next(self.digests(key))

    def digests(self, key: str) -> Iterator[bytes]:
        """Every digest under which the key may be known: that of today first, then those of old peppers."""
        text = key.encode("utf-8", "surrogatepass")
        return (hmac.digest(pepper, text, hashlib.sha256) for pepper in self._peppers)


def issue() -> str:
    """A new key: `gw-`, 8 public letters, 43 secret ones, 6 of checksum."""
    body = _MARK + "".join(secrets.choice(_ALPHABET) for _ in range(_PUBLIC + _SECRET))
    return body + _tail(body)


def is_mistyped(key: str) -> bool:
    """True when `key` has the form of an issued key and its checksum is wrong: no look-up can find it.
    A key that somebody chose has another form and is never called mistyped."""
    if not _has_issued_form(key):
        return False
    return not hmac.compare_digest(_tail(key[:-_TAIL]).encode(), key[-_TAIL:].encode())


def display_prefix(key: str) -> str:
    """What may be shown of a key: `gw-` and the public part of an issued one; of a chosen one at most a
    quarter and at most 8 characters."""
    if _has_issued_form(key) and not is_mistyped(key):
        return key[: len(_MARK) + _PUBLIC]
    return key[: min(8, len(key) // 4)]


def check_chosen(key: str) -> str:
    """`key` itself, when it may serve as a key that somebody chose. Raises WeakKeyError."""
    if len(key) < MIN_CHOSEN:
        raise WeakKeyError(f"a chosen key needs at least {MIN_CHOSEN} characters, this one has {len(key)}")
    if len(key) > 512:
        raise WeakKeyError("a chosen key may have at most 512 characters")
    if not all("!" <= character <= "~" for character in key):
        raise WeakKeyError("a chosen key may only hold printable ASCII characters and no spaces")
    if is_mistyped(key):
        raise WeakKeyError("this looks like an issued key with a typing error: its checksum is wrong")
    return key


def _has_issued_form(key: str) -> bool:
    return len(key) == _LENGTH and key.startswith(_MARK) and key.isascii() and key[len(_MARK) :].isalnum()


def _tail(body: str) -> str:
    number = zlib.crc32(body.encode())
    letters = []
    for _ in range(_TAIL):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(reversed(letters))
