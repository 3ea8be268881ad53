"""Takes secrets and personal data out of what was said, in decoded strings, before anything is stored.

All patterns run in RE2, whose time is linear in the text whatever the pattern is: some are a team's own.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import orjson
import re2

MOST_PATTERNS = 20
MOST_LENGTH = 200
# What a compiled pattern may take: enough for any that one writes, and no bomb of repetitions.
_MEMORY = 8 << 20
# Read beyond the end of what is kept, so that a secret that stands across it is found whole.
_MARGIN = 4096
_DEEP = 64
# JSON within a string, such as a tool's arguments.
_NESTED = 3
_LEAST_BASE64 = 256
_BASE64 = re.compile(r"[A-Za-z0-9+/_=\s-]+")
_KIND = ("media_type", "mime_type", "mimeType", "content_type", "format", "type")
_HIDDEN = frozenset(
    [
        "password",
        "passwd",
        "secret",
        "client_secret",
        "api_key",
        "apikey",
        "api-key",
        "x-api-key",
        "authorization",
        "access_token",
        "refresh_token",
        "private_key",
        "aws_secret_access_key",
        "session_token",
    ]
)
_SECRETS = (
    # Keys of this gateway, of its management, and of providers, by their marks.
    r"\bgwm?-[A-Za-z0-9]{16,}",
    (
        r"\b(?:sk|pk|rk|gsk|xai|pplx|nvapi|hf|r8|key|fw|csk|tgp|ghp|gho|ghs|github_pat|glpat|xox[a-z])"
        r"[-_][A-Za-z0-9_-]{12,}"
    ),
    r"\bAIza[A-Za-z0-9_-]{30,}",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"(?i)\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}",
    r"(?i)\b(?:password|passwd|secret|api[_-]?key|access[_-]?token)\s*[=:]\s*[^\s,;&]{4,}",
    r"(?i)\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]+:[^\s/@]+@",
    r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
)
_EMAIL = r"[\pL\pN._%+-]+@[\pL\pN-]+(?:\.[\pL\pN-]+)+"
_DATA = r"data:[A-Za-z0-9.+/-]*(?:;[A-Za-z0-9=.+-]+)*;base64,[A-Za-z0-9+/=_%-]+"
_DIGITS = r"\d(?:[ -]?\d){12,40}"


class BadPatternError(ValueError):
    """A pattern that cannot be used. Its text says why, and not the pattern."""


def check(patterns: object) -> None:
    """Raises BadPatternError for what is no list of patterns that can be used."""
    if not isinstance(patterns, list) or len(patterns) > MOST_PATTERNS:
        raise BadPatternError(f"Expected a list of at most {MOST_PATTERNS} patterns.")
    for number, each in enumerate(patterns, 1):
        if not isinstance(each, str) or not 0 < len(each) <= MOST_LENGTH or "\0" in each:
            raise BadPatternError(f"Pattern {number}: from 1 to {MOST_LENGTH} characters were expected.")
        try:
            found = _compiled(each)
        except re2.error:
            raise BadPatternError(
                f"Pattern {number} is none of RE2: it knows no looking around and no references back."
            ) from None
        if found.search(""):
            raise BadPatternError(f"Pattern {number} matches what is empty, which is everywhere.")


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re2.Pattern:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    return re2.compile(pattern, options)


class Redactor:
    """Redacts up to a bound of characters. `cut`: something had to be left out for it. Raises re2.error where
    a pattern cannot be used: then nothing may be stored."""

    def __init__(self, patterns: Sequence[str], cap: int) -> None:
        self._own = [_compiled(each) for each in patterns]
        self._left = cap
        self.cut = False

    def value(self, value: Any, deep: int = 0, nested: int = 0, kind: str = "") -> Any:
        """A copy of a JSON value, redacted."""
        if self._left <= 0 or deep > _DEEP:
            self.cut = True
            return "[left out]"
        if isinstance(value, str):
            return self._text(value, nested, kind)
        self._left -= 4
        if isinstance(value, list):
            return [self.value(each, deep + 1, nested, kind) for each in self._some(value)]
        if isinstance(value, dict):
            kind = next((str(value[name]) for name in _KIND if isinstance(value.get(name), str)), kind)
            return {
                self._text(name, _NESTED, ""): (
                    "[redacted]"
                    if name.lower() in _HIDDEN and isinstance(each, str)
                    else self.value(each, deep + 1, nested, kind)
                )
                for name, each in self._some(list(value.items()))
            }
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _number(value, self._clean(str(value)))
        return value

    def _some(self, items: list[Any]) -> Iterator[Any]:
        for item in items:
            if self._left <= 0:
                self.cut = True
                return
            yield item

    def _text(self, text: str, nested: int, kind: str) -> str:
        described = _described(text, kind)
        if described is None and nested < _NESTED and text[:1] in ("{", "[") and len(text) <= self._left:
            try:
                inner = orjson.loads(text)
            except ValueError:
                pass
            else:
                return orjson.dumps(self.value(inner, 0, nested + 1)).decode()
        clean = described or self._clean(text[: self._left + _MARGIN])
        if len(clean) > self._left or (described is None and len(text) > self._left + _MARGIN):
            self.cut = True
            clean = clean[: max(0, self._left)]
        self._left -= len(clean) + 4
        return clean

    def _clean(self, text: str) -> str:
        # A text that is no Unicode, such as half a pair, is read as what can be written.
        text = text.encode("utf-8", "replace").decode()
        text = _compiled(_DATA).sub(lambda found: _data_url(found.group()), text)
        for pattern in _SECRETS:
            text = _compiled(pattern).sub("[secret]", text)
        text = _compiled(_EMAIL).sub("[e-mail]", text)
        text = _compiled(_DIGITS).sub(lambda found: _cards(found.group()), text)
        for own in self._own:
            text = own.sub("[redacted]", text)
        return text


def _number(value: float, clean: str) -> Any:
    """A number as it is, unless it is what is redacted."""
    return value if clean == str(value) else clean


def _described(text: str, kind: str) -> str | None:
    """What stands for bytes in base64; None: it is something else."""
    if len(text) < _LEAST_BASE64 or " " in text[:100] or not _BASE64.fullmatch(text):
        return None
    return _summary(kind or "base64", text)


def _data_url(url: str) -> str:
    head, _, data = url.partition(",")
    return _summary(head.removeprefix("data:").split(";")[0] or "data", data)


def _summary(kind: str, text: str) -> str:
    data = text.encode()
    with contextlib.suppress(binascii.Error, ValueError):
        data = base64.b64decode(data.translate(bytes.maketrans(b"-_", b"+/")))
    return describe(re.sub(r"[^A-Za-z0-9.+/-]", "", kind)[:60], data)


def describe(kind: str, data: bytes) -> str:
    """What is kept of bytes that nobody can read: their kind, size and hash."""
    return f"[{kind}, {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}]"


def _cards(run: str) -> str:
    """Digits in groups: consecutive groups that together are the number of a card are replaced."""
    groups = re.split(r"([ -])", run)
    digits, marks = groups[::2], groups[1::2]
    out, at = "", 0
    while at < len(digits):
        end = next((to for to in range(len(digits), at, -1) if _is_card("".join(digits[at:to]))), None)
        out += "[card]" if end else digits[at]
        at = end or at + 1
        if at < len(digits):
            out += marks[at - 1]
    return out


def _is_card(digits: str) -> bool:
    if not 13 <= len(digits) <= 19 or digits[0] not in "23456":
        return False
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0
