"""What tokens cost, in whole nano-dollars (billionths of a US dollar)."""

from __future__ import annotations

from dialects.types import Usage
from routing.snapshot import Price

# A price in dollars per million tokens has at most six decimals: so many millionths of it are whole
# pico-dollars per token, and sums of them are exact.
_PICO = 1_000_000


def cost(price: Price, usage: Usage) -> int | None:
    """The cost of a call; None where a price that it needs is unknown.

    Tokens that were read from a cache or written to one have prices of their own, where those are known, and
    otherwise that of input. Reasoning is a part of output.
    """
    read, written = usage.cache_read, usage.cache_write
    plain = max(0, usage.input_tokens - read - written)
    pico = 0
    for tokens, rate in (
        (plain, price.input),
        (read, price.input if price.cache_read is None else price.cache_read),
        (written, price.input if price.cache_write is None else price.cache_write),
        (usage.output_tokens, price.output),
    ):
        if not tokens:
            continue
        if rate is None:
            return None
        pico += tokens * round(rate * _PICO)
    return (pico + 500) // 1000
