"""How a client is told what it has left, and why a call is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from dialects.errors import BUDGET, RATE, Detail, Family, GatewayError
from pipeline.stores import Ask, Level
from routing.allowances import NANO, Budget, Limit

# No client waits for longer in one piece, and no clock is read beyond it.
_LONGEST = 366 * 86_400.0
# A place is free again when a call ends; nobody knows when.
_PLACE_SECONDS = 1.0
# Asking again does not help: the call will never fit.
_NEVER = replace(RATE, should_retry=False)
_OWNERS = {"key": "this key", "team": "this key's team", "everybody": "all keys together"}
_WINDOWS = {60: "minute", 3600: "hour", 86400: "day"}


class Left(NamedTuple):
    """The tightest limit of one kind ("requests" or "tokens"): its amount, what is left of it, and the
    seconds until all of it is there again."""

    kind: str
    limit: int
    remaining: int
    reset: float


def tightest(rows: Sequence[Limit | Budget], levels: Sequence[Level]) -> list[Left]:
    """Of the limits of each kind the one that has the least left."""
    found: dict[str, Left] = {}
    for row, level in zip(rows, levels, strict=True):
        if isinstance(row, Budget) or row.kind == "concurrency":
            continue
        left = Left(row.kind, row.amount, max(0, row.amount - level.used), level.reset)
        if row.kind not in found or left.remaining < found[row.kind].remaining:
            found[row.kind] = left
    return list(found.values())


def headers(family: Family, left: Sequence[Left], now: float) -> list[tuple[str, str]]:
    """OpenAI's form for every client, because tools that stand between read that one, and Anthropic's own
    beside it. `now`: seconds since the epoch."""
    said = []
    for each in left:
        said += [
            (f"x-ratelimit-limit-{each.kind}", str(each.limit)),
            (f"x-ratelimit-remaining-{each.kind}", str(each.remaining)),
            (f"x-ratelimit-reset-{each.kind}", duration(each.reset)),
        ]
        if family == "anthropic":
            said += [
                (f"anthropic-ratelimit-{each.kind}-limit", str(each.limit)),
                (f"anthropic-ratelimit-{each.kind}-remaining", str(each.remaining)),
                (f"anthropic-ratelimit-{each.kind}-reset", moment(now + each.reset)),
            ]
    return said


def duration(seconds: float) -> str:
    """A time as OpenAI writes it: `8ms`, `1s`, `6m0s`, `1h2m3.5s`. Never shorter than it is."""
    whole = math.ceil(min(seconds, _LONGEST) * 1000)
    if whole < 1000:
        return f"{whole}ms"
    minutes, milli = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{milli / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def moment(at: float) -> str:
    """A moment as Anthropic writes it (RFC 3339), in whole seconds and never too early."""
    return datetime.fromtimestamp(math.ceil(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rate_error(limit: Limit, ask: Ask, level: Level) -> GatewayError:
    """The refusal of a call that one limit does not let through."""
    owner = _OWNERS[limit.scope]
    if limit.amount <= 0:
        words = f"A limit of {owner} cannot be read; its operators have to mend it."
        return GatewayError(_NEVER, words, Detail(code=limit.kind))
    of = f" of {limit.model}" if limit.model else ""
    if limit.kind == "concurrency":
        words = f"Rate limit reached for {owner}: {limit.amount} requests{of} at the same time."
        return GatewayError(RATE, words, Detail(code="concurrency", retry_after=_PLACE_SECONDS))
    window = _WINDOWS.get(limit.span, f"{limit.span} seconds")
    if math.isinf(level.wait):
        words = (
            f"Request too large for {owner}: the limit is {limit.amount} {limit.kind}{of} per {window}, "
            f"and the request asks for {ask.amount}. Shorten it, or lower its maximum of tokens."
        )
        return GatewayError(_NEVER, words, Detail(code=limit.kind))
    words = (
        f"Rate limit reached for {owner}: {limit.amount} {limit.kind}{of} per {window}. "
        f"Try again in {duration(level.wait)}."
    )
    return GatewayError(RATE, words, Detail(code=limit.kind, retry_after=level.wait))


def budget_error(budget: Budget) -> GatewayError:
    """The refusal of a call that a budget does not let through."""
    owner = _OWNERS[budget.scope]
    if budget.amount <= 0:
        return GatewayError(BUDGET, f"A budget of {owner} cannot be read; its operators have to mend it.")
    amount = f"{budget.amount / NANO:.2f} US dollars" if budget.unit == "usd" else f"{budget.amount} tokens"
    when = "in total" if budget.period == "total" else f"for this {budget.period}"
    return GatewayError(
        BUDGET, f"What is left of the budget of {owner} ({amount} {when}) does not cover this request."
    )
