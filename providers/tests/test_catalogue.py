"""The catalogue's seeding: what is listed, at the library's own prices, and what people edited stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers
from genai_prices.types import TieredPrices

from dialects.types import ModelFacts
from providers.apps import vault
from providers.catalogue import seed_catalogue
from providers.models import CatalogueModel
from routing.catalogue import Catalogue
from routing.loader import build_snapshot
from routing.snapshot import CatalogueModel as Entry
from scripts import price_list

pytestmark = pytest.mark.django_db

# A day on which prices are known: the list changes with its library's version, not with today.
AT = datetime(2026, 6, 1, tzinfo=UTC)
KNOWN = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-4.1"),
    ("openai", "o3"),
    ("openai", "o4-mini"),
    ("openai", "gpt-5"),
    ("openai", "text-embedding-3-small"),
    ("anthropic", "claude-3-5-haiku-latest"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-opus-4-1-20250805"),
]


def entries() -> Any:
    return build_snapshot(vault()).catalogue


@pytest.mark.parametrize(("kind", "model"), KNOWN)
def test_a_known_models_prices_are_what_the_library_computes(kind: str, model: str) -> None:
    seed_catalogue(AT)
    price = entries()[kind, model].price
    tokens = 1000

    def cost(**usage: int) -> float:
        found = calc_price(Usage(**usage), model, provider_id=kind, genai_request_timestamp=AT)
        return float(found.total_price)

    assert price.input * tokens / 1e6 == pytest.approx(cost(input_tokens=tokens))
    if price.output is not None:
        assert price.output * tokens / 1e6 == pytest.approx(cost(output_tokens=tokens))
        assert price.output > price.input > 0
    if price.cache_read is not None:
        assert price.cache_read * tokens / 1e6 == pytest.approx(
            cost(input_tokens=tokens, cache_read_tokens=tokens)
        )
        assert price.cache_read < price.input


def test_the_list_is_the_installed_librarys() -> None:
    assert price_list.TARGET.read_text() == price_list.text(), "make prices"


def test_a_price_is_the_one_of_the_day() -> None:
    """As the library has it, on the days on which any price changes and on those before."""
    rows = price_list.listed()
    changes = {one["from"] for row in rows for one in row["prices"]} - {None}
    models = {(each.id, model.id): model for each in providers for model in each.models}
    for change in sorted(changes):
        for at in (datetime.fromisoformat(change).replace(tzinfo=UTC), AT):
            for moment in (at, at - timedelta(days=1)):
                seed_catalogue(moment)
                for row in CatalogueModel.objects.all():
                    model = models.get((row.kind, row.name))
                    if model is not None:
                        said = model.get_prices(moment).input_mtok
                        base = said.base if isinstance(said, TieredPrices) else said
                        assert row.input_price == (None if base is None else round(base, 6)), row.name


def test_prices_everybody_knows() -> None:
    """One look with human eyes: dollars per million tokens, not per token or per thousand."""
    seed_catalogue(AT)
    known = entries()
    assert (known["openai", "gpt-4o-mini"].price.input, known["openai", "gpt-4o-mini"].price.output) == (
        0.15,
        0.6,
    )
    assert (known["anthropic", "claude-sonnet-4-5"].price.input) == 3
    assert known["anthropic", "claude-sonnet-4-5"].price.output == 15


def test_capabilities_and_limits_come_along() -> None:
    seed_catalogue(AT)
    known = entries()
    assert {"tools", "vision"} <= known["openai", "gpt-4o"].facts.capabilities
    assert known["openai", "gpt-4o"].facts.context_window == 128_000
    assert known["openai", "text-embedding-3-small"].facts.capabilities == {"embeddings"}
    assert known["anthropic", "claude-sonnet-4-5-20250929"].facts.name == "claude-sonnet-4-5-20250929"


def test_seeding_twice_is_seeding_once() -> None:
    first = seed_catalogue(AT)
    assert first.added == CatalogueModel.objects.count() > 100
    rows = list(CatalogueModel.objects.order_by("id").values())
    second = seed_catalogue(AT)
    assert (second.added, second.changed, second.kept) == (0, 0, 0)
    assert list(CatalogueModel.objects.order_by("id").values()) == rows


def test_rows_that_people_edited_or_added_stay_and_others_follow_the_list() -> None:
    seed_catalogue(AT)
    CatalogueModel.objects.filter(kind="openai", name="gpt-4o").update(overridden=True, input_price=99)
    CatalogueModel.objects.filter(kind="openai", name="gpt-4o-mini").update(input_price=99)
    mine = CatalogueModel.objects.create(kind="openai", name="my-tune", input_price=1)
    result = seed_catalogue(AT)
    assert (result.added, result.changed, result.kept) == (0, 1, 1)
    assert CatalogueModel.objects.get(kind="openai", name="gpt-4o").input_price == 99
    assert CatalogueModel.objects.get(kind="openai", name="gpt-4o-mini").input_price == Decimal("0.15")
    assert CatalogueModel.objects.filter(pk=mine.pk).exists()


def test_every_seeded_row_passes_its_own_checks() -> None:
    seed_catalogue(AT)
    for row in CatalogueModel.objects.all():
        row.clean_fields()


def entry(kind: str, name: str) -> Entry:
    return Entry(provider_kind=kind, facts=ModelFacts(name=name))


def test_the_longest_prefix_wins_and_gives_the_name_that_was_asked_for() -> None:
    catalogue = Catalogue([entry("openai", "gpt-*"), entry("openai", "gpt-4*"), entry("openai", "gpt-4")])
    assert catalogue["openai", "gpt-4"].facts.name == "gpt-4"
    assert catalogue["openai", "gpt-4-turbo"].facts.name == "gpt-4-turbo"
    assert ("openai", "llama") not in catalogue
    assert ("anthropic", "gpt-4") not in catalogue
    assert len(catalogue) == 3
