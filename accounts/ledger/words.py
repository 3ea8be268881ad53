"""Says in words why a request was charged what it was charged."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from accounts.ledger.rows import RequestEntry

_NANO = Decimal(10**9)
_PICO = Decimal(10**12)
_WHO = {"provider": "as the provider counted", "estimated": "as the gateway estimated"}
_FLAGS = {
    "no_usage": "The provider gave no count that can be read, so the answer was estimated.",
    "zero_usage": "The provider counted nothing for its answer.",
    "clamped": "The provider's count is over every measure and was cut down.",
    "corrected": "It was charged as reserved at first; then its process turned out to be alive.",
}


def dollars(nano: int | None) -> str:
    """An amount, exact; `unknown` for None."""
    return "unknown" if nano is None else _exact(Decimal(nano) / _NANO)


def explain(row: RequestEntry) -> Iterator[str]:
    """Sentences, the sum last."""
    if row.state == "reserved":
        yield f"Under way: {_reserved(row)} set aside, nothing charged yet."
    elif row.state == "orphaned":
        yield f"Its process died, so it is charged as reserved: {_reserved(row)}."
    elif row.cache in ("hit", "semantic_hit"):
        yield f"Answered from the cache: nothing was asked of a provider. Saved: {dollars(row.saved)}."
    elif row.state == "released":
        yield "No provider was reached, or it failed before any content: nothing is charged."
    else:
        yield from _charged(row)
    if row.possible_double_bill:
        yield "An attempt that brought no answer may be billed by its provider as well."
    for flag in filter(None, row.flags.split(",")):
        yield _FLAGS.get(flag, flag)


def _charged(row: RequestEntry) -> Iterator[str]:
    read, written = row.cache_read, row.cache_write
    thought = f" (of which {row.reasoning} reasoning)" if row.reasoning else ""
    for tokens, rate, what in (
        (max(0, row.input_tokens - read - written), row.rate_input, "input"),
        (read, row.rate_cache_read, "input read from the provider's cache"),
        (written, row.rate_cache_write, "input written to the provider's cache"),
        (row.output_tokens, row.rate_output, f"output{thought}"),
    ):
        if tokens:
            yield _part(tokens, rate, what)
    who = {"provider": "as the provider counted", "estimated": "as the gateway estimated"}.get(
        row.usage_source
    )
    if who is None:
        yield "The provider has used no tokens: nothing is charged."
    elif row.cost is None:
        yield f"The catalogue lacks a price of {row.upstream_model} at {row.provider}: the cost is unknown."
    else:
        yield f"Together {dollars(row.cost)}, {who}, by the prices of revision {row.revision}."


def _part(tokens: int, rate: int | None, what: str) -> str:
    if rate is None:
        return f"{tokens} tokens of {what}, whose price is unknown."
    price = _exact(Decimal(rate) / 1_000_000)
    return f"{tokens} tokens of {what} x {price} a million = {_exact(Decimal(tokens) * rate / _PICO)}"


def _reserved(row: RequestEntry) -> str:
    tokens = f"{row.reserved_input} tokens of input and {row.reserved_output} of output"
    return f"{tokens}, {dollars(row.reserved_cost)} at the dearest of the route's prices"


def _exact(amount: Decimal) -> str:
    text = f"{amount:f}"
    return "$" + (text.rstrip("0").rstrip(".") if "." in text else text)
