"""Writes providers/price_list.json from the price library's data: what the catalogue is seeded with.

The library is needed here alone. A server that imported it would hold fifteen megabytes for the sake of a few
hundred rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from genai_prices.data import providers as price_list
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    ConditionalPrice,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
)

TARGET = Path(__file__).resolve().parent.parent / "providers" / "price_list.json"
# The kinds whose provider the price list knows under one name. The prices of an OpenAI-compatible server are
# its operator's, and Ollama runs on hardware that is paid for otherwise.
_KINDS = {"openai": "openai", "anthropic": "anthropic"}
_PRICES = {
    "input_price": "input_mtok",
    "output_price": "output_mtok",
    "cache_read_price": "cache_read_mtok",
    "cache_write_price": "cache_write_mtok",
}
# A dated version: a literal, a separator, and digits to the end, such as `^claude-opus-5[-@]\d{8}$`.
_DATED = re.compile(r"\^(?P<literal>[^\[\]{}()*+?|^$]+?)(?P<separators>-|\[[-@]+\])(\\d\{[428]\}-?)+\$")
_EXACT_PRICE = Decimal("0.000001")


def listed() -> list[dict[str, Any]]:
    """A row for each name or `prefix*` of a model: `kind`, `name`, `context_window` in tokens or None, and
    `prices`, the last one that has begun being in force: `from`, a day or None, and US dollars per million
    tokens as text."""
    return list(_rows())


def text() -> str:
    """The file."""
    rows = ",\n".join(json.dumps(row, sort_keys=True) for row in listed())
    return f"[\n{rows}\n]\n"


def _rows() -> Iterator[dict[str, Any]]:
    for provider in price_list:
        kind = _KINDS.get(provider.id)
        if kind is None:
            continue
        taken: set[str] = set()
        # Ids first, so that another model's alias cannot take a model's own name.
        for model in provider.models:
            taken.add(model.id)
            yield _row(kind, model.id, model)
        for model in provider.models:
            for name in _names(model.match):
                if name not in taken:
                    taken.add(name)
                    yield _row(kind, name, model)


def _row(kind: str, name: str, model: ModelInfo) -> dict[str, Any]:
    prices = [_dated_price(price) for price in _conditional(model.prices)]
    return {"kind": kind, "name": name, "context_window": model.context_window, "prices": prices}


def _conditional(prices: ModelPrice | list[ConditionalPrice]) -> list[ConditionalPrice]:
    return [ConditionalPrice(prices=prices)] if isinstance(prices, ModelPrice) else prices


def _dated_price(price: ConditionalPrice) -> dict[str, str | None]:
    begins = price.constraint
    if begins is not None and not isinstance(begins, StartDateConstraint):
        raise TypeError(f"prices that depend on {type(begins).__name__} cannot be listed")
    found = {field: _price(getattr(price.prices, key, None)) for field, key in _PRICES.items()}
    return {"from": None if begins is None else begins.start_date.isoformat(), **found}


def _price(value: Decimal | TieredPrices | None) -> str | None:
    """Of a price with tiers the first, which short prompts pay."""
    if isinstance(value, TieredPrices):
        value = value.base
    return None if value is None else str(value.quantize(_EXACT_PRICE))


def _names(match: MatchLogic) -> Iterator[str]:
    """The names that a rule of the price list covers, as exact names and `prefix*`. Rules on the middle of a
    name have no such form and are left out."""
    if isinstance(match, ClauseEquals):
        yield match.equals
    elif isinstance(match, ClauseStartsWith):
        yield match.starts_with + "*"
    elif isinstance(match, ClauseOr):
        for part in match.or_:
            yield from _names(part)
    elif isinstance(match, ClauseRegex):
        yield from _dated(match.regex)


def _dated(pattern: Any) -> Iterator[str]:
    said = pattern if isinstance(pattern, str) else pattern.pattern
    found = _DATED.fullmatch(said)
    if found is not None:
        literal = found["literal"].replace("\\", "")
        for separator in found["separators"].strip("[]"):
            # Every date that will be seen begins so, and the next version's number does not.
            yield f"{literal}{separator}20*"


if __name__ == "__main__":
    TARGET.write_text(text())
