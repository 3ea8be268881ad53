"""Checks that every OpenAI endpoint shares, in OpenAI's wording: types, lengths, names, unknown and
unsupported parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tests.support.upstream.refused import RefusedError, is_int, is_number

NAME = re.compile(r"[a-zA-Z0-9_-]+")
_KINDS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": is_int,
    "number": is_number,
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_ARTICLES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a decimal",
    "boolean": "a boolean",
    "array": "an array",
    "object": "an object",
}


def check_type(value: Any, kind: str, where: str) -> None:
    """The value at `where` is of that JSON type."""
    if not _KINDS[kind](value):
        raise RefusedError(
            f"Invalid type for '{where}': expected {_ARTICLES[kind]}, but got {_article(value)} instead.",
            param=where,
            code="invalid_type",
        )


def _article(value: Any) -> str:
    return "null" if value is None else next(_ARTICLES[kind] for kind, fits in _KINDS.items() if fits(value))


def unsupported(key: str, advice: str = "") -> RefusedError:
    return RefusedError(
        f"Unsupported parameter: '{key}' is not supported with this model.{advice}",
        param=key,
        code="unsupported_parameter",
    )


def missing(where: str) -> RefusedError:
    return RefusedError(
        f"Missing required parameter: '{where}'.", param=where, code="missing_required_parameter"
    )


def empty(where: str) -> RefusedError:
    return RefusedError(
        f"Invalid '{where}': empty array. Expected an array with minimum length 1, but got an empty array "
        "instead.",
        param=where,
        code="empty_array",
    )


def check_name(name: Any, where: str) -> None:
    """A name of a function, a schema or a participant: 64 characters of the usual kind."""
    check_type(name, "string", where)
    if not NAME.fullmatch(name):
        raise RefusedError(
            f"Invalid '{where}': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]+$'.",
            param=where,
            code="invalid_value",
        )
    check_length(name, 64, where)


def check_length(value: str, length: int, where: str) -> None:
    if len(value) > length:
        raise RefusedError(
            f"Invalid '{where}': string too long. Expected a string with maximum length {length}, "
            f"but got a string with length {len(value)} instead.",
            param=where,
            code="string_above_max_length",
        )


def check_only(given: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """No other keys than the known ones."""
    for key in given:
        if key not in known:
            raise RefusedError(
                f"Unknown parameter: '{where}.{key}'.", param=f"{where}.{key}", code="unknown_parameter"
            )
