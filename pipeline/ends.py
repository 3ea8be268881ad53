"""How a request and its attempts end in the ledger, and what is odd about them: judged from the record."""

from __future__ import annotations

from typing import Literal

from dialects.fields import MAX_COUNT
from pipeline.call import Attempt, Record
from pipeline.prices import may_be_billed

# As the provider counted; it may bill what it has not counted; nothing was used.
End = Literal["settled", "estimated", "released"]

# A refusal of the request itself is the provider's answer to it: settled, at nothing.
_REFUSED = frozenset({"bad_request", "no_model", "not_found", "bad_method", "media", "size"})


def attempt_end(record: Record, number: int) -> End:
    """How the attempt at this place of the record's list ended."""
    attempt = record.attempts[number]
    counted = record.usage is not None and (attempt.outcome == "ok" or number == len(record.attempts) - 1)
    if counted and record.usage is not None:
        return "settled" if record.usage.source == "provider" else "estimated"
    if attempt.outcome == "ok" or _is_refusal(attempt):
        return "settled"
    return "estimated" if may_be_billed(attempt) else "released"


def request_end(record: Record, ends: list[End]) -> End:
    """How the request ended; `ends`: its attempts."""
    usage = record.usage
    if usage is not None:
        return "settled" if usage.source == "provider" else "estimated"
    if "estimated" in ends and record.used is not None and record.used.source == "estimated":
        return "estimated"
    if ends:
        return "settled" if ends[-1] == "settled" else "released"
    # A cache or the gateway itself has answered, or nobody was asked.
    return "settled" if record.outcome == "ok" else "released"


def may_be_billed_twice(record: Record, ends: list[End]) -> bool:
    """Whether a provider may bill an attempt that brought nothing, beside what is charged or what the client
    asks for again."""
    last = len(ends) - 1
    return any(
        attempt.outcome == "first_byte_timeout"
        or (end == "estimated" and number < last and attempt.outcome not in ("ok", "client_gone", "given_up"))
        for number, (attempt, end) in enumerate(zip(record.attempts, ends, strict=True))
    )


def oddities(record: Record) -> list[str]:
    """Words for what is odd about the usage: `clamped`, a number over every measure; `zero_usage`, the
    provider counted nothing for an answer; `no_usage`, it gave no count that can be read."""
    usage = record.usage
    if usage is None:
        return []
    odd = []
    if max(usage.input_tokens, usage.output_tokens) >= MAX_COUNT:
        odd.append("clamped")
    if record.outcome == "ok":
        if usage.source == "estimated":
            odd.append("no_usage")
        elif not (usage.input_tokens or usage.output_tokens):
            odd.append("zero_usage")
    return odd


def _is_refusal(attempt: Attempt) -> bool:
    return attempt.fault in _REFUSED and attempt.status is not None and 400 <= attempt.status < 500
