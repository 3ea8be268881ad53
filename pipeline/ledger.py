"""Writes a line for the ledger before each attempt and at the end of each call: what the ledger's rows are
made of, columns by their names."""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from dialects.types import Usage
from pipeline.call import Attempt, Record
from pipeline.ends import attempt_end, may_be_billed_twice, oddities, request_end
from pipeline.prices import rates
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
        line: dict[str, Any] = {
            "request_id": record.request_id,
            "attempt": {"number": number, "state": "reserved", **_whereto(attempt)},
        }
        if number == 1:
            line["open"] = _opening(record)
        self._write(line, vital=False)

    def raised(self, record: Record) -> None:
        charge = record.charge
        if charge is not None:
            raised = {"reserved_output": charge.output_tokens, "reserved_cost": charge.cost}
            self._write({"request_id": record.request_id, "raised": raised}, vital=False)

    def closed(self, record: Record) -> None:
        if record.charge is None:
            return
        ends = [attempt_end(record, number) for number in range(len(record.attempts))]
        attempts = [
            {"number": number, "state": end, **_whereto(attempt), **_ended(attempt)}
            for number, (attempt, end) in enumerate(zip(record.attempts, ends, strict=True), 1)
        ]
        row = {
            **_opening(record),
            **_charged(record),
            **_times(record),
            "state": request_end(record, ends),
            "status": record.status,
            "code": record.code,
            "outcome": record.outcome,
            "cache": record.cache,
            "saved": _money(record.saved),
            "tries": len(attempts),
            "dropped": ",".join(record.dropped),
            "possible_double_bill": may_be_billed_twice(record, ends),
            "flags": ",".join(oddities(record)),
        }
        self._write({"request_id": record.request_id, "end": row, "attempts": attempts}, vital=True)

    def _write(self, line: dict[str, Any], *, vital: bool) -> None:
        try:
            encoded = orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            # A text that is no Unicode: such a name passes no door, and if one does, the call goes on.
            self._sink.lost("unreadable")
        else:
            self._sink.append(encoded, vital=vital)


def _opening(record: Record) -> dict[str, Any]:
    charge = record.charge
    assert charge is not None, "whoever was let in has a charge"  # noqa: S101 - a programmer's error, not input
    return {
        "at": charge.at,
        "surface": record.surface,
        "team_id": charge.team_id,
        "team": record.team,
        "key_id": charge.key_id,
        "key": record.key_prefix,
        "model": record.model,
        "stream": record.stream,
        "route": record.route,
        "provider": record.provider,
        "upstream_model": record.upstream_model,
        "revision": record.revision,
        "reserved_input": min(charge.input_tokens, MAX_TOKENS),
        "reserved_output": min(charge.output_tokens, MAX_TOKENS),
        "reserved_cost": _money(charge.cost),
    }


def _charged(record: Record) -> dict[str, Any]:
    used = record.used or _NOTHING
    of_input, of_output, of_read, of_written = rates(record.price or _UNPRICED)
    something = used.input_tokens or used.output_tokens or record.usage is not None
    return {
        "input_tokens": min(used.input_tokens, MAX_TOKENS),
        "output_tokens": min(used.output_tokens, MAX_TOKENS),
        "cache_read": min(used.cache_read, MAX_TOKENS),
        "cache_write": min(used.cache_write, MAX_TOKENS),
        "reasoning": min(used.reasoning, MAX_TOKENS),
        "usage_source": used.source if something else "",
        "cost": _money(record.cost),
        "rate_input": of_input,
        "rate_output": of_output,
        "rate_cache_read": of_read,
        "rate_cache_write": of_written,
    }


def _times(record: Record) -> dict[str, Any]:
    begun = record.first_content
    return {
        "ttft_ms": _ms(begun - record.started) if begun else None,
        "total_ms": _ms(record.ended - record.started),
        "queue_ms": _ms(record.queue_seconds),
        "upstream_ms": _ms(record.upstream_seconds),
    }


def _whereto(attempt: Attempt) -> dict[str, Any]:
    return {
        "provider": attempt.provider,
        "upstream_model": attempt.upstream_model,
        "credential": attempt.credential,
        "reason": attempt.reason,
    }


def _ended(attempt: Attempt) -> dict[str, Any]:
    return {
        "outcome": attempt.outcome,
        "fault": attempt.fault,
        "status": attempt.status,
        "upstream_request_id": attempt.upstream_request_id or "",
        "ms": _ms(attempt.seconds),
    }


def _money(nano: int | None) -> int | None:
    return None if nano is None else min(nano, MAX_COST)


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
