"""Seeding the model catalogue from the price library's own data: capabilities, context windows, prices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.utils import timezone
from genai_prices.data import providers as price_list
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    MatchLogic,
    ModelInfo,
    TieredPrices,
)

from dialects.capabilities import capabilities_of, max_output_of
from providers.models import CatalogueModel

# The kinds whose provider the price list knows under one name. The prices of an OpenAI-compatible server are
# its operator's, and Ollama runs on hardware that is paid for otherwise.
_KINDS = {"openai": "openai", "anthropic": "anthropic"}

_PRICES = {
    "input_price": "input_mtok",
    "output_price": "output_mtok",
    "cache_read_price": "cache_read_mtok",
    "cache_write_price": "cache_write_mtok",
}
# What a re-seed compares and writes.
_FIELDS = ("context_window", "max_output_tokens", "capabilities", *_PRICES)

# A dated version: a literal, a separator, and digits to the end, such as `^claude-opus-5[-@]\d{8}$`.
_DATED = re.compile(r"\^(?P<literal>[^\[\]{}()*+?|^$]+?)(?P<separators>-|\[[-@]+\])(\\d\{[428]\}-?)+\$")
_EMBEDDING = re.compile(r"embedding")
_EXACT_PRICE = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Seeded:
    """How many rows a seeding added, changed, and left alone because somebody had edited them."""

    added: int
    changed: int
    kept: int


def seed_catalogue(at: datetime | None = None) -> Seeded:
    """Bring the catalogue to the price list of the installed library, as of `at` (now). Rows that were edited
    by hand, and models that the list does not know, stay as they are."""
    wanted = {(row.kind, row.name): row for row in _listed(at or timezone.now())}
    with transaction.atomic():
        changed: list[CatalogueModel] = []
        kept = 0
        for row in CatalogueModel.objects.select_for_update():
            new = wanted.pop((row.kind, row.name), None)
            if new is None:
                continue
            if row.overridden:
                kept += 1
            elif _take(row, new):
                changed.append(row)
        CatalogueModel.objects.bulk_create(wanted.values())
        CatalogueModel.objects.bulk_update(changed, _FIELDS, batch_size=200)
    return Seeded(added=len(wanted), changed=len(changed), kept=kept)


def _take(row: CatalogueModel, new: CatalogueModel) -> bool:
    """Copy the seeded fields; True when one of them differed."""
    before = [getattr(row, field) for field in _FIELDS]
    after = [getattr(new, field) for field in _FIELDS]
    for field, value in zip(_FIELDS, after, strict=True):
        setattr(row, field, value)
    return before != after


def _listed(at: datetime) -> Iterator[CatalogueModel]:
    for provider in price_list:
        kind = _KINDS.get(provider.id)
        if kind is None:
            continue
        taken: set[str] = set()
        # Ids first, so that another model's alias cannot take a model's own name.
        for model in provider.models:
            taken.add(model.id)
            yield _row(kind, model.id, model, at)
        for model in provider.models:
            for name in _names(model.match):
                if name not in taken:
                    taken.add(name)
                    yield _row(kind, name, model, at)


def _row(kind: str, name: str, model: ModelInfo, at: datetime) -> CatalogueModel:
    stem = name.rstrip("*")
    prices = model.get_prices(at)
    embeds = _EMBEDDING.search(stem) is not None
    return CatalogueModel(
        kind=kind,
        name=name,
        context_window=model.context_window,
        max_output_tokens=None if embeds else max_output_of(stem),
        capabilities=["embeddings"] if embeds else sorted(capabilities_of(stem)),
        **{field: _price(getattr(prices, key, None)) for field, key in _PRICES.items()},
    )


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
    text = pattern if isinstance(pattern, str) else pattern.pattern
    found = _DATED.fullmatch(text)
    if found is not None:
        literal = found["literal"].replace("\\", "")
        for separator in found["separators"].strip("[]"):
            # Every date that will be seen begins so, and the next version's number does not.
            yield f"{literal}{separator}20*"


def _price(value: Decimal | TieredPrices | None) -> Decimal | None:
    """US dollars per million tokens; of a price with tiers the first, which short prompts pay."""
    if isinstance(value, TieredPrices):
        value = value.base
    return None if value is None else value.quantize(_EXACT_PRICE)
