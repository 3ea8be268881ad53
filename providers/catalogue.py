"""Seeding the model catalogue from the price list: capabilities, context windows, prices."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.db import transaction
from django.utils import timezone

from dialects.capabilities import capabilities_of, max_output_of
from providers.models import CatalogueModel

# Written by `make prices`.
_PRICE_LIST = Path(__file__).resolve().parent / "price_list.json"
_PRICES = ("input_price", "output_price", "cache_read_price", "cache_write_price")
# What a re-seed compares and writes.
_FIELDS = ("context_window", "max_output_tokens", "capabilities", *_PRICES)
_EMBEDDING = re.compile(r"embedding")


@dataclass(frozen=True, slots=True)
class Seeded:
    """How many rows a seeding added, changed, and left alone because somebody had edited them."""

    added: int
    changed: int
    kept: int


def seed_catalogue(at: datetime | None = None) -> Seeded:
    """Bring the catalogue to the price list, as of `at` (now). Rows that were edited
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


def listed_names(kind: str) -> list[str]:
    """The whole names, not prefixes, that the price list has for this provider kind."""
    return [
        row["name"]
        for row in json.loads(_PRICE_LIST.read_bytes())
        if row["kind"] == kind and row["name"][-1].isalnum()
    ]


def _take(row: CatalogueModel, new: CatalogueModel) -> bool:
    """Copy the seeded fields; True when one of them differed."""
    before = [getattr(row, field) for field in _FIELDS]
    after = [getattr(new, field) for field in _FIELDS]
    for field, value in zip(_FIELDS, after, strict=True):
        setattr(row, field, value)
    return before != after


def _listed(at: datetime) -> Iterator[CatalogueModel]:
    day = at.astimezone(UTC).date()
    for row in json.loads(_PRICE_LIST.read_bytes()):
        stem = row["name"].rstrip("*")
        embeds = _EMBEDDING.search(stem) is not None
        yield CatalogueModel(
            kind=row["kind"],
            name=row["name"],
            context_window=row["context_window"],
            max_output_tokens=None if embeds else max_output_of(stem),
            capabilities=["embeddings"] if embeds else sorted(capabilities_of(stem)),
            **_prices(row["prices"], day),
        )


def _prices(listed: list[dict[str, Any]], day: date) -> dict[str, Decimal | None]:
    """US dollars per million tokens. Of several prices the last that has begun, or else the first."""
    begun = [one for one in listed if one["from"] is None or date.fromisoformat(one["from"]) <= day]
    found = (begun or listed[:1])[-1]
    return {field: None if found[field] is None else Decimal(found[field]) for field in _PRICES}
