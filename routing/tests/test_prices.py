"""Money is exact to the nano-dollar, and an unknown price is never nothing."""

from __future__ import annotations

import pytest

from dialects.types import Usage
from routing.prices import cost
from routing.snapshot import Price

MINI = Price(input=0.15, output=0.6, cache_read=0.075)


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        (Usage(), 0),
        (Usage(input_tokens=1_000_000), 150_000_000),
        (Usage(output_tokens=1_000_000), 600_000_000),
        (Usage(input_tokens=1), 150),
        (Usage(input_tokens=1000, cache_read=400), 600 * 150 + 400 * 75),
        # Without a price of its own what is written to a cache costs as input.
        (Usage(input_tokens=1000, cache_write=400), 1000 * 150),
        # A part of the output, not more of it.
        (Usage(output_tokens=100, reasoning=80), 60_000),
        # What a provider counts wrongly does not become a credit.
        (Usage(input_tokens=10, cache_read=20), 20 * 75),
    ],
)
def test_a_call_costs_what_its_tokens_cost(usage: Usage, nano: int) -> None:
    assert cost(MINI, usage) == nano


def test_prices_of_six_decimals_add_up_exactly() -> None:
    price = Price(input=0.000001, output=0.1)
    assert cost(price, Usage(input_tokens=3_000_000_000)) == 3_000_000
    assert cost(price, Usage(output_tokens=3)) == 300


@pytest.mark.parametrize(
    ("price", "usage", "known"),
    [
        (Price(), Usage(input_tokens=1), False),
        (Price(input=1.0), Usage(input_tokens=1, output_tokens=1), False),
        (Price(input=1.0), Usage(input_tokens=1), True),
        (Price(output=1.0), Usage(output_tokens=1), True),
        (Price(output=1.0, cache_read=1.0), Usage(input_tokens=1, cache_read=1), True),
        (Price(), Usage(), True),
    ],
)
def test_an_unknown_price_is_not_0(price: Price, usage: Usage, known: bool) -> None:
    assert (cost(price, usage) is not None) is known
