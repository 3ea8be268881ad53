"""What tokens cost, in whole nano-dollars (billionths of a US dollar), and what a call has used of them."""

from __future__ import annotations

from functools import lru_cache

from dialects import estimate
from dialects.types import Usage
from pipeline.call import Attempt, Call
from routing.snapshot import Price

# A price in dollars per million tokens has at most six decimals: so many millionths of it are whole
# pico-dollars per token, and sums of them are exact.
_PICO = 1_000_000
NO_PRICE = Price()
# Attempts without an answer of which the provider may have read the prompt, and will bill it: it was left, or
# it was silent.
_MAY_BE_BILLED = frozenset(
    {
        "pending",
        "client_gone",
        "given_up",
        "first_byte_timeout",
        "idle_timeout",
        "deadline_exceeded",
        "stream_max_duration",
    }
)
# Calls that use no model.
_FREE = frozenset({"count_tokens", "response_tokens", "moderations", "files", "file_content", "batches"})


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


def used_by(call: Call) -> Usage:
    """What a call that is over has used: as counted; its prompt, where a provider may bill that and has
    counted nothing; nothing where none was reached."""
    record = call.record
    if record.usage is not None:
        return record.usage
    if call.dialect.name not in _FREE and any(may_be_billed(attempt) for attempt in record.attempts):
        return Usage(input_tokens=estimate.tokens(call.facts.prompt_chars), source="estimated")
    return Usage()


def may_be_billed(attempt: Attempt) -> bool:
    """Whether a provider may bill an attempt of which it has counted nothing. A whole answer that cannot be
    read was written all the same; a stream that broke before its first content was not."""
    return attempt.outcome in _MAY_BE_BILLED or attempt.worked


def price_of(call: Call) -> Price | None:
    """The prices at the call's target; None where it has none."""
    if call.target is None:
        return None
    row = call.snapshot.catalogue.get((call.target.provider.kind.name, call.record.upstream_model))
    return NO_PRICE if row is None else row.price


def cost_of(call: Call, usage: Usage) -> int | None:
    """What this usage costs at the call's target; None where a price that it needs is unknown."""
    price = price_of(call)
    return 0 if price is None else cost(price, usage)
