"""A request's charge taken apart and computed anew: tokens by kind, unit prices, the sum, and whether it is
what was charged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from accounts.allowances import Budget
from accounts.ledger.rows import RequestEntry

Verdict = Literal["open", "same", "differs", "unpriced", "clamped"]

_NANO = Decimal(10**9)
_PICO = Decimal(10**12)


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens of one kind. `rate`: pico-dollars a token, None where unknown."""

    kind: str
    tokens: int
    rate: int | None

    @property
    def price(self) -> str:
        """Of a million tokens."""
        return "unknown" if self.rate is None else exact(Decimal(self.rate) / 1_000_000)

    @property
    def amount(self) -> str:
        """What they cost."""
        return "unknown" if self.rate is None else exact(self.tokens * Decimal(self.rate) / _PICO)


@dataclass(frozen=True, slots=True)
class Anew:
    """The charge computed anew, in nano-dollars; `cost` is None where a price is unknown."""

    cost: int | None
    verdict: Verdict

    @property
    def words(self) -> str:
        """What came of it."""
        return _VERDICTS[self.verdict].format(dollars(self.cost))


_VERDICTS: dict[Verdict, str] = {
    "open": "It is under way: there is nothing to compute yet.",
    "same": "Computed anew: {}, which is what was charged.",
    "differs": "Computed anew: {}, which is NOT what was charged. Run `manage.py ledger reconcile`.",
    "unpriced": "It cannot be computed anew, because a price that it needs is unknown.",
    "clamped": "It cannot be computed anew, because the provider's count was cut down.",
}


def parts(row: RequestEntry) -> list[Part]:
    """The tokens that are charged, by kind. Reasoning is within output and has its price."""
    read, written = row.cache_read, row.cache_write
    found = (
        Part("input", max(0, row.input_tokens - read - written), row.rate_input),
        Part("input read from the provider's cache", read, row.rate_cache_read),
        Part("input written to the provider's cache", written, row.rate_cache_write),
        Part("output", row.output_tokens - min(row.reasoning, row.output_tokens), row.rate_output),
        Part("output: reasoning", min(row.reasoning, row.output_tokens), row.rate_output),
    )
    return [part for part in found if part.tokens]


def anew(row: RequestEntry) -> Anew:
    """The charge by what the row says of tokens and prices, and whether it is what was charged."""
    if row.state == "reserved":
        return Anew(None, "open")
    if "clamped" in row.flags.split(","):
        return Anew(None, "clamped")
    cost = _cost(row)
    if cost != row.cost:
        return Anew(cost, "differs")
    return Anew(cost, "unpriced" if cost is None else "same")


def _cost(row: RequestEntry) -> int | None:
    if row.state == "orphaned":
        return row.reserved_cost
    if row.state == "released" or not row.provider or row.cache in ("hit", "semantic_hit"):
        return 0
    pico = 0
    for part in parts(row):
        if part.rate is None:
            return None
        pico += part.tokens * part.rate
    return (pico + 500) // 1000


@dataclass(frozen=True, slots=True)
class Counted:
    """A budget, and what a request counts in it."""

    budget: Budget
    amount: str


def budgets(row: RequestEntry) -> Iterator[Counted]:
    """The budgets that it counts in, as they are set now."""
    cost = "nothing, as its cost is unknown" if row.cost is None else dollars(row.cost)
    used = f"{row.input_tokens + row.output_tokens} tokens"
    for budget in Budget.objects.filter(enabled=True).select_related("team", "key"):
        if budget.key_id in (None, row.key_id) and budget.team_id in (None, row.team_id):
            yield Counted(budget, cost if budget.unit == "usd" else used)


def given_back(row: RequestEntry) -> str:
    """What became of what was set aside."""
    if row.state == "reserved" or row.reserved_cost is None or row.cost is None:
        return ""
    left = row.reserved_cost - row.cost
    if left < 0:
        return f"It came to {dollars(-left)} more than was set aside."
    return f"Of {dollars(row.reserved_cost)} that were set aside {dollars(left)} were given back."


def dollars(nano: int | None) -> str:
    """An amount, exact; `unknown` for None."""
    return "unknown" if nano is None else exact(Decimal(nano) / _NANO)


def exact(amount: Decimal) -> str:
    """Dollars with as many decimals as there are."""
    text = f"{amount:f}"
    return "$" + (text.rstrip("0").rstrip(".") if "." in text else text)
