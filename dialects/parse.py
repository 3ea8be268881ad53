"""The one strict JSON parser of every surface, and the splice that changes a field and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from typing import Any

import msgspec
import orjson

from dialects.errors import GatewayError, bad_request
from dialects.types import JsonObject

# Deeper than any real tool schema, shallow enough for every recursive reader behind us.
MAX_DEPTH = 64
# Values within the body, far more than any prompt has. What is read is built at once and stops the event loop
# meanwhile: a quarter of a second for so many, on a slow machine.
MAX_VALUES = 1_000_000
# A number that a 64-bit reader cannot hold would reach the provider changed.
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1
_BOM = b"\xef\xbb\xbf"
_NESTED = (dict, list, float)
# Each digit as a nought and all else as a space; as many digits as the least number that does not fit has.
_DIGITS = bytes(0x30 if chr(code).isdecimal() else 0x20 for code in range(256))
_LONG = b"0" * 19


def parse_json(raw: bytes) -> JsonObject:
    """The body as an object. 400 for everything that two readers could understand differently: not UTF-8,
    lone surrogates, NaN and numbers that change, duplicate keys, more than 64 levels, another top level; and
    for more than a million values.

    The message gives the position and never the text. A byte order mark is skipped.
    """
    raw = without_bom(raw)
    if not raw:
        raise _invalid("The request body is empty; a JSON object is expected.")
    # Each value takes two bytes at least.
    if len(raw) > 2 * MAX_VALUES and _too_many(raw):
        raise _invalid(f"The request body has more than {MAX_VALUES} values.")
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _refusal(raw, error) from None
    if type(body) is not dict:
        raise _invalid("The request body must be a JSON object.")
    if (not _plain(raw) and _doubtful(body)) or _may_repeat(raw, body):
        _exact(raw)
    return body


def without_bom(raw: bytes) -> bytes:
    """`raw` without a leading UTF-8 byte order mark, which JSON readers are free to refuse."""
    return raw[3:] if raw.startswith(_BOM) else raw


def splice(raw: bytes, patch: Mapping[str, Any]) -> bytes:
    """A parsed body's bytes with top-level fields set (None: removed); every other value keeps its bytes
    and its place, new fields come last."""
    fields: dict[str, Any] = msgspec.json.decode(without_bom(raw), type=dict[str, msgspec.Raw])
    for name, value in patch.items():
        if value is None:
            fields.pop(name, None)
        else:
            fields[name] = value
    return msgspec.json.encode(fields)


def merge_patch(value: Any, patch: Any) -> Any:
    """`value` changed by a JSON merge patch (RFC 7396): objects merge, null removes, all else replaces.
    Neither argument is mutated."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for name, change in patch.items():
        if change is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), change)
    return merged


def _too_many(raw: bytes) -> bool:
    """True when there are more values than MAX_VALUES: each but the first follows a mark outside of strings.
    Marks within strings are many in honest prompts, so they are told apart, but only where that matters."""
    marks = (b",", b"[", b"{")
    if sum(map(raw.count, marks)) <= MAX_VALUES:
        return False
    text = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    if text.count(b'"') > 4 * MAX_VALUES:
        return True
    outside = b"".join(text.split(b'"')[::2])
    return sum(map(outside.count, marks)) > MAX_VALUES


def _plain(raw: bytes) -> bool:
    """True when there cannot be too many levels, nor a whole number too long for 64 bits: nearly always, and
    told by the bytes alone."""
    return raw.count(b"{") + raw.count(b"[") <= MAX_DEPTH and _LONG not in raw.translate(_DIGITS)


def _doubtful(body: JsonObject) -> bool:
    """Check the depth; True when a number needs a closer look. Level by level, so depth costs no stack, and
    over all values of a level at once, which is several times faster than node by node."""
    doubtful = False
    dicts: list[JsonObject] = [body]
    lists: list[list[Any]] = []
    for _ in range(MAX_DEPTH):
        values = chain(chain.from_iterable(map(dict.values, dicts)), chain.from_iterable(lists))
        nested = [v for v in values if type(v) in _NESTED]
        dicts = [v for v in nested if type(v) is dict]
        lists = [v for v in nested if type(v) is list]
        if len(dicts) + len(lists) != len(nested) and not doubtful:
            # Either an honest 1e300 or an integer too long for 64 bits, which orjson made a float.
            doubtful = any(type(v) is float and not _INT_MIN < v < _INT_MAX for v in nested)
        if not dicts and not lists:
            return doubtful
    raise _invalid(f"The request body is nested more than {MAX_DEPTH} levels deep.")


def _may_repeat(raw: bytes, body: JsonObject) -> bool:
    """False when no object in `raw` has a key twice. Of two equal keys one was lost in parsing and a colon
    with it, so written out again the body has fewer; only an escaped colon could hide that."""
    return raw.count(b":") != orjson.dumps(body).count(b":") or b"\\u003" in raw


def _exact(raw: bytes) -> None:
    """Read again with the slow reader that shows every key and number. The depth is known to be small."""
    json.loads(raw, object_pairs_hook=_unique, parse_int=_whole, parse_float=_nothing)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _invalid("The request body has an object with the same key twice.")


def _whole(text: str) -> None:
    # 64 bits are at most 20 digits; the length is checked first because int() of many digits is slow.
    if len(text) > 20 or not _INT_MIN <= int(text) <= _INT_MAX:
        raise _invalid("The request body has an integer that does not fit 64 bits.")


def _nothing(_: str) -> None:
    """A float that orjson accepted is finite: nothing to check."""


def _refusal(raw: bytes, error: orjson.JSONDecodeError) -> GatewayError:
    try:
        raw.decode()
    except UnicodeDecodeError as bad:
        return bad_request(
            f"The request body is not valid UTF-8 (byte {bad.start}).", code="invalid_encoding"
        )
    message: str = error.msg
    if "surrogate" in message:
        message = "a string has half of a surrogate pair"
    elif "depth" in message:
        return _invalid(f"The request body is nested more than {MAX_DEPTH} levels deep.")
    return _invalid(
        f"The request body is not valid JSON: {message} (line {error.lineno}, column {error.colno})."
    )


def _invalid(message: str) -> GatewayError:
    return bad_request(message, code="invalid_json")
