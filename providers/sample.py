"""The smallest value that satisfies a JSON schema, for answers that nobody thought up.

Types, required properties, enumerations, bounds, local references and the usual formats are honoured;
patterns and conditions are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# A schema may refer to itself, and twice at each level, so both ways of growing have an end.
_DEPTH = 32
_VALUES = 1000
_LENGTH = 1000

_WORD = "sandbox"
_FORMATS: Mapping[str, str] = {
    "date": "2024-01-01",
    "date-time": "2024-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "PT1S",
    "email": "sandbox@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


class SchemaTooLargeError(Exception):
    """The smallest value would still be very large."""


def sample(schema: Any) -> Any:
    """The smallest value of `schema`, the same every time. Raises SchemaTooLargeError."""
    return _Sampler(schema).value(schema, _DEPTH)


class _Sampler:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._left = _VALUES

    def value(self, schema: Any, depth: int) -> Any:
        self._left -= 1
        if not self._left or not depth:
            raise SchemaTooLargeError
        if type(schema) is not dict:
            return _WORD  # `true`, or no schema at all: everything fits
        for name in ("anyOf", "oneOf", "allOf"):
            if isinstance(options := schema.get(name), list) and options:
                rest = {key: inner for key, inner in schema.items() if key != name}
                chosen = options if name == "allOf" else [_shortest(options)]
                return self.value(self._merged([rest, *chosen]), depth - 1)
        if isinstance(where := schema.get("$ref"), str):
            return self.value(self._target(where), depth - 1)
        if "const" in schema:
            return schema["const"]
        if isinstance(choices := schema.get("enum"), list) and choices:
            return choices[0]
        return self._of_type(schema, depth - 1)

    def _of_type(self, schema: dict[str, Any], depth: int) -> Any:
        kind = _kind(schema)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            least = schema.get("minItems")
            items = schema.get("items")
            return [self.value(items, depth) for _ in range(least if isinstance(least, int) else 0)]
        if kind in ("integer", "number"):
            return _number(schema)
        if kind in ("boolean", "null"):
            return False if kind == "boolean" else None
        return _string(schema)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        required = schema.get("required")
        known = properties if isinstance(properties, dict) else {}
        names = required if isinstance(required, list) else []
        return {name: self.value(known.get(name), depth) for name in names if isinstance(name, str)}

    def _merged(self, schemas: list[Any]) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        properties: dict[str, Any] = {}
        required: list[Any] = []
        for schema in schemas:
            if isinstance(schema, dict) and isinstance(where := schema.get("$ref"), str):
                schema = self._target(where)
            if isinstance(schema, dict):
                merged |= schema
                properties |= found if isinstance(found := schema.get("properties"), dict) else {}
                required += found if isinstance(found := schema.get("required"), list) else []
        return {**merged, "properties": properties, "required": required} if properties else merged

    def _target(self, where: str) -> Any:
        found = self._root
        for name in where.removeprefix("#").split("/")[1:]:
            name = name.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, dict) else None
        return found


def _shortest(options: list[Any]) -> Any:
    """The option without a value where there is one: it also ends what refers to itself."""
    return next(
        (each for each in options if isinstance(each, dict) and each.get("type") == "null"), options[0]
    )


def _kind(schema: dict[str, Any]) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    if kind is None and ("properties" in schema or "required" in schema):
        return "object"
    return "array" if kind is None and "items" in schema else kind


def _number(schema: dict[str, Any]) -> int | float:
    def bound(name: str, step: int) -> int | float | None:
        value = schema.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        beyond = schema.get("exclusive" + name.capitalize())
        return beyond + step if isinstance(beyond, int | float) and not isinstance(beyond, bool) else None

    least, most = bound("minimum", 1), bound("maximum", -1)
    if least is not None and least > 0:
        return least
    return most if most is not None and most < 0 else 0


def _string(schema: dict[str, Any]) -> str:
    form = schema.get("format")
    if isinstance(form, str) and form in _FORMATS:
        return _FORMATS[form]
    least, most = schema.get("minLength"), schema.get("maxLength")
    text = _WORD
    if isinstance(least, int):
        text = text.ljust(min(least, _LENGTH), ".")
    return text[: max(most, 0)] if isinstance(most, int) else text
