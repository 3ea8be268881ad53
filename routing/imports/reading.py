"""Reads files that another program wrote: bounded, field by field, and knowing what nobody asked for."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from routing.configfile import ConfigError, load_yaml
from routing.yaml_bounds import MAX_DEPTH, MAX_VALUES

# A proxy's configuration of thousands of models is smaller.
MAX_BYTES = 8 * 1024 * 1024
_LARGEST = 10**12


def read_text(raw: bytes) -> str:
    """Bytes of a file as text. Raises ConfigError."""
    if len(raw) > MAX_BYTES:
        raise ConfigError([f"it is larger than {MAX_BYTES // 1024 // 1024} MiB"])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(["it is not UTF-8 text"]) from None


def read_yaml(raw: bytes) -> Any:
    """A YAML document as plain data: no tags but YAML's own, no bombs. Raises ConfigError."""
    return load_yaml(read_text(raw))


def read_json(raw: bytes) -> Any:
    """A JSON document as plain data. Raises ConfigError."""
    try:
        document = json.loads(read_text(raw))
    except json.JSONDecodeError as error:
        raise ConfigError([f"line {error.lineno}, column {error.colno}: not valid JSON"]) from None
    except (RecursionError, ValueError):
        raise ConfigError(["it nests too deeply, or a number is too long"]) from None
    _bounded(document)
    return document


def _bounded(document: object) -> None:
    waiting: list[tuple[object, int]] = [(document, 0)]
    count = 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if depth > MAX_DEPTH or count > MAX_VALUES:
            raise ConfigError([f"more than {MAX_DEPTH} levels or {MAX_VALUES} values"])
        if isinstance(value, dict):
            waiting += [(each, depth + 1) for each in value.values()]
        elif isinstance(value, list):
            waiting += [(each, depth + 1) for each in value]


def shown(value: object) -> str:
    """A name from a file, fit for a terminal."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= 100 else text[:99] + "…"


class Fields:
    """A mapping. Each reader gives None for what is absent or null, and raises ConfigError, which names the
    path and never the value, for another type."""

    def __init__(self, value: object, path: str) -> None:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise ConfigError([f"{path or 'the document'}: expected a mapping"])
        self._values = {str(name): each for name, each in value.items()}
        self._asked: set[str] = set()
        self.path = path

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{shown(name)}" if self.path else shown(name)

    def raw(self, name: str) -> Any:
        self._asked.add(name)
        return self._values.get(name)

    def text(self, name: str) -> str:
        """Empty for none. Numbers are texts that somebody did not quote."""
        value = self.raw(name)
        if value is None:
            return ""
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return str(value).strip()
        raise self._wrong(name, "a text")

    def number(self, name: str) -> float | None:
        """Finite and not negative; a text of digits counts."""
        value = self.raw(name)
        if value is None or value == "":
            return None
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not 0 <= number <= _LARGEST:
            raise self._wrong(name, "a number, not negative")
        return number

    def whole(self, name: str) -> int | None:
        number = self.number(name)
        if number is not None and number != int(number):
            raise self._wrong(name, "a whole number")
        return None if number is None else int(number)

    def integer(self, name: str) -> int:
        """A whole number of either sign; 0 for none."""
        value = self.raw(name)
        try:
            return 0 if value in (None, "") else int(str(value))
        except ValueError:
            raise self._wrong(name, "a whole number") from None

    def flag(self, name: str) -> bool:
        value = self.raw(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        if value in ("true", "True", "false", "False"):
            return str(value).lower() == "true"
        raise self._wrong(name, "true or false")

    def listing(self, name: str) -> list[Any]:
        value = self.raw(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, "a list")
        return value

    def fields(self, name: str) -> Fields:
        return Fields(self.raw(name), self.at(name))

    def each(self, name: str) -> Iterator[Fields]:
        """A list's mappings."""
        for index, value in enumerate(self.listing(name)):
            yield Fields(value, f"{self.at(name)}[{index}]")

    def items(self) -> list[tuple[str, Any]]:
        """All of them, which then count as asked for."""
        self._asked.update(self._values)
        return list(self._values.items())

    def rest(self) -> list[str]:
        """Fields that nobody asked for and that say something."""
        return [name for name, value in self._values.items() if name not in self._asked and value is not None]

    def _wrong(self, name: str, expected: str) -> ConfigError:
        return ConfigError([f"{self.at(name)}: expected {expected}"])
