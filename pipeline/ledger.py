"""Writes a line for the ledger before each attempt and at the end of each call: what the ledger's rows are
made of, in the places that accounts/ledger/lines.py names."""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from accounts.ledger.lines import MAX_CODE, MAX_DROPPED, MAX_NAME
from dialects.types import Usage
from pipeline.call import Charge, Record
from pipeline.ends import attempt_end, may_be_billed_twice, oddities, request_end
from routing.prices import rates
from routing.snapshot import Price

# Beyond these no single request can be: a trillion tokens, a million dollars. Sums of such rows still fit.
MAX_TOKENS = 10**12
MAX_COST = 10**15
_NOTHING = Usage()
_UNPRICED = Price()


class Ledger(Protocol):
    """Told before money can be spent. It must not raise and must not wait."""

    def trying(self, record: Record) -> None:
        """The last of the record's attempts is about to be sent."""
        ...

    def raised(self, record: Record) -> None:
        """More than before is set aside for the call."""
        ...


class _Nobody:
    """Nothing is written down."""

    def trying(self, record: Record) -> None:
        """See Ledger."""

    def raised(self, record: Record) -> None:
        """See Ledger."""


NOBODY: Ledger = _Nobody()


class Sink(Protocol):
    """Where lines go. It neither raises nor waits."""

    def append(self, line: bytes, *, vital: bool) -> None:
        """Keep a line, which ends with a line feed. What is not `vital` goes first where room is short."""
        ...

    def lost(self, reason: str) -> None:
        """A line could not even be made."""
        ...


class LedgerBook:
    """A book of the pipeline, and its Ledger. A call that was refused by a limit was not let in, and has no
    row; one that dies before its first attempt has spent nothing, and has none either."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def opened(self, record: Record) -> None:
        """Nothing is set aside yet."""

    def trying(self, record: Record) -> None:
        if record.charge is None:
            # Nobody pays for it.
            return
        number = len(record.attempts)
        attempt = record.attempts[-1]
        opening = _opening(record, record.charge) if number == 1 else None
        whereto = (
            number,
            "reserved",
            attempt.provider,
            attempt.upstream_model[:MAX_NAME],
            attempt.credential,
            attempt.reason,
        )
        self._write(("a", record.request_id, opening, whereto), vital=False)

    def raised(self, record: Record) -> None:
        charge = record.charge
        if charge is not None:
            tokens, cost = min(charge.output_tokens, MAX_TOKENS), _money(charge.cost)
            self._write(("r", record.request_id, tokens, cost), vital=False)

    def closed(self, record: Record) -> None:
        charge = record.charge
        if charge is None:
            return
        ends = [attempt_end(record, number) for number in range(len(record.attempts))]
        used = record.used or _NOTHING
        counted = used.input_tokens or used.output_tokens or record.usage is not None
        started, begun = record.started, record.first_content
        # In the order of ENDING.
        row = (
            *_opening(record, charge),
            request_end(record, ends),
            record.status,
            record.code[:MAX_CODE],
            record.outcome,
            min(used.input_tokens, MAX_TOKENS),
            min(used.output_tokens, MAX_TOKENS),
            min(used.cache_read, MAX_TOKENS),
            min(used.cache_write, MAX_TOKENS),
            min(used.reasoning, MAX_TOKENS),
            used.source if counted else "",
            _money(record.cost),
            *rates(record.price or _UNPRICED),
            round((begun - started) * 1000) if begun else None,
            round((record.ended - started) * 1000),
            round(record.queue_seconds * 1000),
            round(record.upstream_seconds * 1000),
            record.cache,
            _money(record.saved),
            len(ends),
            ",".join(record.dropped)[:MAX_DROPPED] if record.dropped else "",
            may_be_billed_twice(record, ends),
            ",".join(oddities(record)),
            record.trace.trace_id if record.trace is not None else "",
        )
        attempts = [
            (
                number,
                end,
                attempt.provider,
                attempt.upstream_model[:MAX_NAME],
                attempt.credential,
                attempt.reason,
                attempt.outcome[:MAX_CODE],
                attempt.fault,
                attempt.status,
                attempt.upstream_request_id or "",
                round(attempt.seconds * 1000),
                attempt.credential_id,
            )
            for number, (attempt, end) in enumerate(zip(record.attempts, ends, strict=True), 1)
        ]
        self._write(("e", record.request_id, row, attempts), vital=True)

    def _write(self, line: tuple[Any, ...], *, vital: bool) -> None:
        try:
            encoded = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            # A text that is no Unicode: such a name passes no door, and if one does, the call goes on.
            self._sink.lost("unreadable")
        else:
            self._sink.append(encoded, vital=vital)


def _opening(record: Record, charge: Charge) -> tuple[Any, ...]:
    """In the order of OPENING."""
    return (
        charge.at,
        record.surface,
        charge.team_id,
        record.team,
        charge.key_id,
        record.key_prefix,
        # A zero byte is a letter of JSON, and of no database.
        record.model[:MAX_NAME].replace("\0", "?"),
        record.stream,
        record.route,
        record.provider,
        record.upstream_model[:MAX_NAME].replace("\0", "?"),
        record.revision,
        min(charge.input_tokens, MAX_TOKENS),
        min(charge.output_tokens, MAX_TOKENS),
        _money(charge.cost),
    )


def _money(nano: int | None) -> int | None:
    return None if nano is None else min(nano, MAX_COST)
