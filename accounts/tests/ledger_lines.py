"""Lines of a journal for tests, as the pipeline writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from accounts.ledger.lines import ATTEMPT as PLACES
from accounts.ledger.lines import ATTEMPT_END, ENDING, OPENING

AT = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
OPEN: dict[str, Any] = {
    "at": AT.timestamp(),
    "surface": "chat",
    "team_id": 7,
    "team": "crew",
    "key_id": 9,
    "key": "gw-abc",
    "model": "gpt-4o",
    "stream": False,
    "route": "gpt-*",
    "provider": "openai",
    "upstream_model": "gpt-4o",
    "revision": 3,
    "reserved_input": 10,
    "reserved_output": 4096,
    "reserved_cost": 41_000_000,
}
# 8 of input at 2.50 dollars a million, 2 from a cache at 1.25, 5 of output at 10.
CHARGED: dict[str, Any] = {
    "input_tokens": 10,
    "output_tokens": 5,
    "cache_read": 2,
    "cache_write": 0,
    "reasoning": 1,
    "usage_source": "provider",
    "cost": 72_500,
    "rate_input": 2_500_000,
    "rate_output": 10_000_000,
    "rate_cache_read": 1_250_000,
    "rate_cache_write": 2_500_000,
}
ATTEMPT: dict[str, Any] = {
    "provider": "openai",
    "upstream_model": "gpt-4o",
    "credential": "default",
    "reason": "first",
}


def line(*said: Any) -> bytes:
    return json.dumps(said).encode() + b"\n"


def placed(names: Sequence[str], values: Mapping[str, Any]) -> list[Any]:
    """The values in their places, and at the end those that have none."""
    more = [value for name, value in values.items() if name not in names]
    return [values[name] for name in names] + more


def opening(name: str = "req_1", number: int = 1, **changes: Any) -> bytes:
    """Before an attempt; the first of them opens the request."""
    attempt = placed(PLACES, {"number": number, "state": "reserved", **ATTEMPT})
    return line("a", name, placed(OPENING, {**OPEN, **changes}) if number == 1 else None, attempt)


def ending(name: str = "req_1", attempts: int = 1, state: str = "settled", **changes: Any) -> bytes:
    """The end of a call with so many attempts, all but the last of them released. `credential_id`: what all
    of them used."""
    credential_id = changes.pop("credential_id", 5)
    row = {
        **OPEN,
        **CHARGED,
        "ttft_ms": 40,
        "total_ms": 900,
        "queue_ms": 0,
        "upstream_ms": 850,
        "state": state,
        "status": 200,
        "code": "",
        "outcome": "ok",
        "cache": "",
        "saved": None,
        "tries": attempts,
        "dropped": "",
        "possible_double_bill": False,
        "flags": "",
        "trace_id": "4b" * 16,
        **changes,
    }
    made = [
        {
            "number": number,
            "state": state if number == attempts else "released",
            **ATTEMPT,
            "outcome": "ok" if number == attempts else "upstream_error",
            "fault": "",
            "status": 200,
            "upstream_request_id": "up_1",
            "ms": 850,
            "credential_id": credential_id,
        }
        for number in range(1, attempts + 1)
    ]
    return line("e", name, placed(ENDING, row), [placed(ATTEMPT_END, each) for each in made])
