"""Recent requests of the ledger, those that are planned alike put together."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from msgspec import Struct

from accounts.ledger.rows import RequestEntry
from dialects.estimate import CHARS_PER_TOKEN
from dialects.types import Facts, Usage
from routing.impact import Alike

# So many of the newest are read: minutes of a busy gateway and weeks of a quiet one, in a fraction of a
# second.
NEWEST = 10_000
# All of these prompts stand in one context.
_ONE_PROMPT = frozenset({"chat", "messages", "responses"})
# They go where their files are, whatever the routes say.
_AT_HOME = ("files", "file_content", "batches")
_CACHED = frozenset({"hit", "semantic_hit"})
_COLUMNS = (
    "at",
    "key_id",
    "key",
    "team",
    "surface",
    "model",
    "stream",
    "cache",
    "reserved_input",
    "reserved_output",
    "input_tokens",
    "output_tokens",
    "cache_read",
    "cache_write",
    "cost",
)


class Recent(Struct):
    """The newest requests, together. `since` and `until`: when the first and the last came, None where there
    are none; `all_of_it`: the ledger has no older ones."""

    requests: list[Alike]
    since: datetime | None
    until: datetime | None
    all_of_it: bool


def facts_of(surface: str, model: str, *, stream: bool, tokens: int, answer: int) -> Facts:
    """What the ledger remembers of a request: its prompt of so many tokens, and those reserved for the
    answer. What it needed of a model is not known."""
    return Facts(
        model=model,
        stream=stream,
        max_tokens=answer or None,
        prompt_chars=tokens * CHARS_PER_TOKEN,
        one_prompt=surface in _ONE_PROMPT,
    )


class _Group(Struct):
    """What has been found of requests that are alike."""

    key: str
    team: str
    count: int = 0
    tokens: int = 0
    answer: int = 0
    input: int = 0
    output: int = 0
    read: int = 0
    written: int = 0
    paid: int = 0

    def add(self, row: Any, tokens: int) -> None:
        """One more, with a prompt of so many tokens. `row` has the columns that are read."""
        self.count += 1
        self.tokens += tokens
        self.answer += row.reserved_output
        self.paid += row.cost or 0
        # What the gateway's own cache answers is free, whatever the configuration.
        if row.cache not in _CACHED:
            self.input += row.input_tokens
            self.output += row.output_tokens
            self.read += row.cache_read
            self.written += row.cache_write


# Key, surface, model and whether a stream; the sizes of prompt and answer in bits: within a class, they
# differ by less than a factor of two.
_Name = tuple[int, str, str, bool, int, int]


def recent(teams: Collection[int] | None = None, newest: int = NEWEST) -> Recent:
    """The newest requests of these teams (None: of all). One query; blocks. Raises DatabaseError."""
    rows = RequestEntry.objects.exclude(surface__in=_AT_HOME)
    if teams is not None:
        rows = rows.filter(team_id__in=teams)
    found = list(rows.order_by("-at", "-id").values_list(*_COLUMNS, named=True)[: newest + 1])
    read = found[:newest]
    groups: dict[_Name, _Group] = {}
    for row in read:
        tokens = row.reserved_input or row.input_tokens
        sizes = tokens.bit_length(), row.reserved_output.bit_length()
        name = row.key_id, row.surface, row.model, row.stream, *sizes
        groups.setdefault(name, _Group(row.key, row.team)).add(row, tokens)
    return Recent(
        [_alike(name, group) for name, group in groups.items()],
        read[-1].at if read else None,
        read[0].at if read else None,
        len(found) <= newest,
    )


def _alike(name: _Name, group: _Group) -> Alike:
    key_id, surface, model, stream, _, _ = name
    facts = facts_of(
        surface,
        model,
        stream=stream,
        tokens=group.tokens // group.count,
        answer=group.answer // group.count,
    )
    usage = Usage(
        input_tokens=group.input,
        output_tokens=group.output,
        cache_read=group.read,
        cache_write=group.written,
    )
    return Alike(key_id, group.key, group.team, surface, facts, group.count, usage, group.paid)
