"""Secrets at rest: nothing to see without the key, nothing to move to another provider, keys that rotate."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from providers.crypto import Vault, VaultError, last4

OLD, NEW = b"o" * 32, b"n" * 32
SECRET = "sk-canary-0123456789"


@given(st.text(max_size=200), st.integers(1, 2**63 - 1))
def test_what_goes_in_comes_out(secret: str, provider: int) -> None:
    vault = Vault([OLD])
    assert vault.open(vault.seal(secret, provider), provider) == secret


def test_a_token_shows_neither_the_secret_nor_that_two_are_the_same() -> None:
    vault = Vault([OLD])
    one, two = vault.seal(SECRET, 1), vault.seal(SECRET, 1)
    assert one != two
    for token in (one, two):
        assert SECRET not in token
        assert SECRET.encode() not in base64.urlsafe_b64decode(token)


def test_s26_another_providers_row_cannot_use_it() -> None:
    vault = Vault([OLD])
    with pytest.raises(VaultError, match="another provider"):
        vault.open(vault.seal(SECRET, 1), 2)


def test_s27_a_new_key_in_front_opens_what_the_old_one_sealed_and_seals_anew() -> None:
    token = Vault([OLD]).seal(SECRET, 1)
    both = Vault([NEW, OLD])
    assert both.open(token, 1) == SECRET
    again = both.seal(both.open(token, 1), 1)
    assert Vault([NEW]).open(again, 1) == SECRET
    with pytest.raises(VaultError):
        Vault([OLD]).open(again, 1)
    with pytest.raises(VaultError):
        Vault([NEW]).open(token, 1)


def test_s27_sealing_anew_needs_the_old_key_once_and_does_nothing_the_second_time() -> None:
    old, new = Fernet.generate_key(), Fernet.generate_key()
    token = Vault([old]).seal("sk-1", 7)
    anew = Vault([new, old]).reseal(token, 7)
    assert Vault([new]).open(anew, 7) == "sk-1"
    assert Vault([new, old]).reseal(anew, 7) == anew
    for keys, provider in (([new], 7), ([new, old], 8)):
        with pytest.raises(VaultError):
            Vault(keys).reseal(token, provider)


def test_every_changed_byte_is_noticed() -> None:
    vault = Vault([OLD])
    raw = bytearray(base64.urlsafe_b64decode(vault.seal(SECRET, 1)))
    for place in range(len(raw)):
        changed = bytes(raw[:place]) + bytes([raw[place] ^ 1]) + bytes(raw[place + 1 :])
        with pytest.raises(VaultError):
            vault.open(base64.urlsafe_b64encode(changed).decode(), 1)


@pytest.mark.parametrize(
    "content", [b"", b"sk-plain", b"[1]", b"[1, 2]", b'{"1": "x"}', b'["1", "x"]', b"null"]
)
def test_what_another_program_sealed_with_the_same_key_is_refused(content: bytes) -> None:
    token = Fernet(base64.urlsafe_b64encode(OLD)).encrypt(content).decode()
    with pytest.raises(VaultError):
        Vault([OLD]).open(token, 1)


@pytest.mark.parametrize("token", ["", "sk-plain-text", "gAAAAAB", "ü", "\0"])
def test_what_is_no_token_is_refused_without_repeating_it(token: str) -> None:
    with pytest.raises(VaultError) as caught:
        Vault([OLD]).open(token, 1)
    assert "sk-plain" not in str(caught.value)


def test_keys_may_be_raw_or_fernets_own() -> None:
    token = Vault([OLD]).seal(SECRET, 1)
    assert Vault([base64.urlsafe_b64encode(OLD)]).open(token, 1) == SECRET


@pytest.mark.parametrize("keys", [[], [b""], [b"short"], [b"x" * 33]])
def test_bad_keys_are_refused_at_once(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Vault(keys)


def test_a_token_of_the_vault_is_an_ordinary_fernet_token() -> None:
    """So that any other tool with the key can bring the secrets back."""
    token = Vault([OLD]).seal(SECRET, 7)
    assert json.loads(Fernet(base64.urlsafe_b64encode(OLD)).decrypt(token)) == [7, SECRET]


@pytest.mark.parametrize(
    ("secret", "shown"), [("sk-0123456789abcdef", "cdef"), ("x" * 15, ""), ("", ""), ("abcd", "")]
)
def test_the_end_of_a_short_secret_is_not_shown(secret: str, shown: str) -> None:
    assert last4(secret) == shown
