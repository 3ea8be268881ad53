"""Keys: strong, recognisable, checked for typing errors, and only ever kept as a keyed hash."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import keys
from accounts.keys import KeyHasher, WeakKeyError, check_chosen, display_prefix, is_mistyped, issue

PEPPER = b"pepper of the tests"


def test_a_key_has_its_form_and_fits_in_a_header() -> None:
    key = issue()
    assert re.fullmatch(r"gw-[0-9A-Za-z]{57}", key)
    assert key.isprintable()
    assert not is_mistyped(key)
    assert check_chosen(key) == key


def test_the_secret_part_alone_has_256_bits() -> None:
    assert keys._SECRET * math.log2(len(keys._ALPHABET)) >= 256
    assert sorted(keys._ALPHABET) == sorted(set(string.ascii_letters + string.digits))


def test_every_letter_of_every_place_is_drawn() -> None:
    """A place that knows fewer letters than the alphabet would cost the bits that are promised."""
    drawn = [issue()[3:-6] for _ in range(2000)]
    assert len(set(drawn)) == 2000
    for place in range(51):
        # Of 62 letters in 2,000 draws one is missing with a chance below 1e-12.
        assert {key[place] for key in drawn} == set(keys._ALPHABET)


@given(st.integers(0, 59), st.sampled_from(keys._ALPHABET))
def test_one_wrong_letter_is_seen(place: int, letter: str) -> None:
    key = issue()
    changed = key[:place] + letter + key[place + 1 :]
    if place >= 3 and changed != key:
        assert is_mistyped(changed)


def test_two_letters_that_changed_places_are_seen() -> None:
    key = issue()
    for place in range(3, len(key) - 1):
        if key[place] != key[place + 1]:
            assert is_mistyped(key[:place] + key[place + 1] + key[place] + key[place + 2 :])


@given(st.text(max_size=80))
def test_any_text_can_be_asked_about(text: str) -> None:
    assert is_mistyped(text) in (True, False)
    assert len(display_prefix(text)) <= 11
    assert len(KeyHasher(PEPPER).digest(text)) == 32


def test_the_digest_is_the_standard_one() -> None:
    key = issue()
    assert KeyHasher(PEPPER).digest(key) == hmac.new(PEPPER, key.encode(), hashlib.sha256).digest()


def test_without_the_pepper_no_guess_can_be_checked() -> None:
    key = issue()
    assert KeyHasher(PEPPER).digest(key) != KeyHasher(b"another of 16 bytes").digest(key)


def test_s27_a_key_from_before_a_rotation_is_known_by_its_old_digest() -> None:
    key = issue()
    rotated = KeyHasher(b"another of 16 bytes", PEPPER)
    assert rotated.digest(key) == KeyHasher(b"another of 16 bytes").digest(key)
    assert list(rotated.digests(key)) == [rotated.digest(key), KeyHasher(PEPPER).digest(key)]
    with pytest.raises(ValueError, match="16 bytes"):
        KeyHasher(PEPPER, b"short")


def test_keys_that_share_a_beginning_or_an_end_are_different() -> None:
    hasher = KeyHasher(PEPPER)
    key = issue()
    other = key[:30] + issue()[30:]
    assert hasher.digest(key) != hasher.digest(other)
    assert hasher.digest(key) != hasher.digest(issue()[:30] + key[30:])


@pytest.mark.parametrize("pepper", [b"", b"x" * 15])
def test_a_short_pepper_is_refused(pepper: bytes) -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        KeyHasher(pepper)


def test_what_is_shown_of_a_key_leaves_its_secret_whole() -> None:
    key = issue()
    assert display_prefix(key) == key[:11]
    assert len(key[11:-6]) == keys._SECRET


@pytest.mark.parametrize(
    ("chosen", "shown"),
    [("a-key-that-somebody-chose-1234", "a-key-t"), ("sixteen-letters!", "sixt"), ("x" * 100, "x" * 8)],
)
def test_of_a_chosen_key_a_quarter_is_shown_at_most(chosen: str, shown: str) -> None:
    assert display_prefix(chosen) == shown


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ("short-canary", "at least 16"),
        ("canary " * 4, "printable ASCII"),
        ("canary" * 4 + "\n", "printable ASCII"),
        ("schlüssel-canary-1234", "printable ASCII"),
        ("canary" * 100, "at most 512"),
        pytest.param(issue()[:-1] + "!", "", id="an issued one with a sign that no key has"),
    ],
)
def test_a_weak_choice_is_refused_without_repeating_it(chosen: str, words: str) -> None:
    if not words:
        assert check_chosen(chosen) == chosen
        return
    with pytest.raises(WeakKeyError, match=words) as caught:
        check_chosen(chosen)
    assert "canary" not in str(caught.value)


def test_an_issued_key_with_a_typing_error_is_no_choice() -> None:
    key = issue()
    with pytest.raises(WeakKeyError, match="typing error"):
        check_chosen(key[:-1] + ("a" if key[-1] != "a" else "b"))
