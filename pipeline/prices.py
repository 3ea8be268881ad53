"""What tokens cost, in whole nano-dollars (billionths of a US dollar), and what a call has used of them."""

from __future__ import annotations

from dialects import estimate
from dialects.types import Usage
from pipeline.call import Call
from routing.snapshot import Price

# A price in dollars per million tokens has at most six decimals: so many millionths of it are whole
# pico-dollars per token, and sums of them are exact.
_PICO = 1_000_000
NO_PRICE = Price()
# Attempts without an answer of which the provider may have read the prompt, and will bill it.
_MAY_BE_BILLED = frozenset({"client_gone", "first_byte_timeout"})
# Calls that use no model.
_FREE = frozenset({"count_tokens"})


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


def used_by(call: Call) -> Usage:
    """What a call that is over has used: as counted; its prompt, where a provider may bill that and has
    counted nothing; nothing where none was reached."""
    record = call.record
    if record.usage is not None:
        return record.usage
    if call.dialect.name not in _FREE and any(
        attempt.status == 200 or attempt.outcome in _MAY_BE_BILLED for attempt in record.attempts
    ):
        return Usage(input_tokens=estimate.tokens(call.facts.prompt_chars), source="estimated")
    return Usage()


def cost_of(call: Call, usage: Usage) -> int | None:
    """What this usage costs at the call's target; None where a price that it needs is unknown."""
    if call.target is None:
        return 0
    key = call.target.provider.kind.name, call.record.upstream_model
    row = call.snapshot.catalogue.get(key)
    return cost(NO_PRICE if row is None else row.price, usage)
