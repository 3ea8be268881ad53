"""Looking a model up in the catalogue: by its exact name, or by the longest prefix that covers it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from routing.snapshot import CatalogueModel

Key = tuple[str, str]


class Catalogue(Mapping[Key, CatalogueModel]):
    """(provider kind, upstream model) to its row. Rows named `prefix*` cover the names that no row has.

    What a prefix gives carries the name that was asked for. Iterating goes over the rows as they are named.
    """

    def __init__(self, rows: Iterable[CatalogueModel]) -> None:
        self._rows = {(row.provider_kind, row.facts.name): row for row in rows}
        self._prefixes = {
            (kind, name[:-1]): row for (kind, name), row in self._rows.items() if name.endswith("*")
        }
        self._lengths = sorted({len(stem) for _, stem in self._prefixes}, reverse=True)

    def __getitem__(self, key: Key) -> CatalogueModel:
        row = self._rows.get(key)
        if row is not None:
            return row
        kind, model = key
        for length in self._lengths:
            row = self._prefixes.get((kind, model[:length])) if length <= len(model) else None
            if row is not None:
                return replace(row, facts=replace(row.facts, name=model))
        raise KeyError(key)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
