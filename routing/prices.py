"""What tokens cost, in whole nano-dollars (billionths of a US dollar)."""

from __future__ import annotations

from functools import lru_cache

from dialects.types import Usage
from routing.snapshot import Price

# A price in dollars per million tokens has at most six decimals: so many millionths of it are whole
# pico-dollars per token, and sums of them are exact.
_PICO = 1_000_000
NO_PRICE = Price()


def cost(price: Price, usage: Usage) -> int | None:
    """The cost of a call; None where a price that it needs is unknown.

    Tokens that were read from a cache or written to one have prices of their own, where those are known, and
    otherwise that of input. Reasoning is a part of output.
    """
    read, written = usage.cache_read, usage.cache_write
    plain = max(0, usage.input_tokens - read - written)
    pico = 0
    of_input, of_output, of_read, of_written = rates(price)
    for tokens, rate in (
        (plain, of_input),
        (read, of_read),
        (written, of_written),
        (usage.output_tokens, of_output),
    ):
        if not tokens:
            continue
        if rate is None:
            return None
        pico += tokens * rate
    return (pico + 500) // 1000


@lru_cache(maxsize=1024)
def rates(price: Price) -> tuple[int | None, int | None, int | None, int | None]:
    """Whole pico-dollars for a token of input, of output, read from a cache, and written to one; None where
    unknown."""
    of_input, of_output, of_read, of_written = (
        None if dollars is None else round(dollars * _PICO)
        for dollars in (price.input, price.output, price.cache_read, price.cache_write)
    )
    return (
        of_input,
        of_output,
        of_input if of_read is None else of_read,
        of_input if of_written is None else of_written,
    )
