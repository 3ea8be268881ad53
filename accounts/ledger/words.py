"""Says in words why a request was charged what it was charged; charge.py has the sums."""

from __future__ import annotations

from collections.abc import Iterator

from accounts.ledger.charge import dollars
from accounts.ledger.rows import AttemptEntry, RequestEntry

_WHO = {"provider": "as the provider counted", "estimated": "as the gateway estimated"}
_COUNTED = {"provider": "counted", "estimated": "estimated", "reservation": "as reserved"}
_FLAGS = {
    "no_usage": "The provider gave no count that can be read, so the answer was estimated.",
    "zero_usage": "The provider counted nothing for its answer.",
    "clamped": "The provider's count is over every measure and was cut down.",
    "corrected": "It was charged as reserved at first; then its process turned out to be alive.",
}


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
    who = _WHO.get(row.usage_source)
    if who is None:
        yield "The provider has used no tokens: nothing is charged."
    elif row.cost is None:
        yield f"The catalogue lacks a price of {row.upstream_model} at {row.provider}: the cost is unknown."
    else:
        yield f"Together {dollars(row.cost)}, {who}, by the prices of revision {row.revision}."


def _reserved(row: RequestEntry) -> str:
    tokens = f"{row.reserved_input} tokens of input and {row.reserved_output} of output"
    return f"{tokens}, {dollars(row.reserved_cost)} at the dearest of the route's prices"


def attempt_used(attempt: AttemptEntry, *, charged: bool) -> str:
    """What an attempt has used. `charged`: it is the one that its request is charged for."""
    row = attempt.request
    if attempt.state == "reserved":
        return "under way"
    if charged and row.usage_source:
        return f"{row.input_tokens} in, {row.output_tokens} out, {_COUNTED[row.usage_source]}"
    if attempt.state == "estimated":
        return "not counted; its provider may bill it"
    return "nothing"


def attempt_cost(attempt: AttemptEntry, *, charged: bool) -> str:
    """What an attempt cost."""
    if attempt.state == "reserved":
        return ""
    return dollars(attempt.request.cost if charged else 0)
