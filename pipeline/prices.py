"""What a call has used, and what that costs."""

from __future__ import annotations

from dialects import estimate
from dialects.types import Usage
from pipeline.call import Attempt, Call
from routing.prices import NO_PRICE, cost
from routing.snapshot import Price

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
