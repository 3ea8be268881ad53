"""What a line of the journal says, by place. Places are only ever added at the end, so that a version reads
what another has left: what is missing has its default, what is too much is ignored.

    ["a", request id, OPENING or null, ATTEMPT]          before an attempt; the first opens the request
    ["r", request id, tokens of output, cost]            so much is set aside by now
    ["e", request id, ENDING, [ATTEMPT_END, ...]]        the end of a call, which says everything again
"""

from __future__ import annotations

OPENING = (
    "at",
    "surface",
    "team_id",
    "team",
    "key_id",
    "key",
    "model",
    "stream",
    "route",
    "provider",
    "upstream_model",
    "revision",
    "reserved_input",
    "reserved_output",
    "reserved_cost",
)
ENDING = (
    *OPENING,
    "state",
    "status",
    "code",
    "outcome",
    "input_tokens",
    "output_tokens",
    "cache_read",
    "cache_write",
    "reasoning",
    "usage_source",
    "cost",
    "rate_input",
    "rate_output",
    "rate_cache_read",
    "rate_cache_write",
    "ttft_ms",
    "total_ms",
    "queue_ms",
    "upstream_ms",
    "cache",
    "saved",
    "tries",
    "dropped",
    "possible_double_bill",
    "flags",
    "trace_id",
)
ATTEMPT = ("number", "state", "provider", "upstream_model", "credential", "reason")
ATTEMPT_END = (*ATTEMPT, "outcome", "fault", "status", "upstream_request_id", "ms", "credential_id")

# Clients make up models, and providers codes: so much of them is kept.
MAX_NAME = 200
MAX_CODE = 100
MAX_DROPPED = 1000
