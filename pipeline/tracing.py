"""Where a request stands in a trace: its own ids, the client's before it, and what a provider is sent of it.

A call has a Trace only where traces are exported. It is chosen when the request comes in and stays as it is;
spans are made of it, and of the record, when all is over.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from dialects.answer_facts import AnswerFacts


class Trace(Struct, frozen=True, gc=False):
    """A request's span. Ids in lower-case hex; `parent_id` "": it is the first of its trace; `sampled`: it is
    exported. `state`: the tracestate that goes on. `wall` and `began` are the same moment, in nanoseconds
    since the epoch and in seconds of the monotonic clock. `method` "": not a request but a call of the
    gateway's own. `address`: the path without what identifies one object."""

    trace_id: str
    span_id: str
    parent_id: str
    sampled: bool
    state: str
    wall: int
    began: float
    method: str = ""
    address: str = ""

    def below(self) -> Trace:
        """The span of a call that the gateway makes for this one."""
        return Trace(
            self.trace_id,
            new_span_id(),
            self.span_id,
            self.sampled,
            self.state,
            time.time_ns(),
            time.monotonic(),
        )

    def at(self, moment: float) -> int:
        """A moment of the monotonic clock, in nanoseconds since the epoch."""
        return self.wall + round((moment - self.began) * 1e9)


class Hop(Struct):
    """The span of an attempt. `kind` and `base_url`: the provider's; `said`: what the answer says of itself,
    None where nobody will read it. `carries`: the answer was still coming when the attempt was over."""

    span_id: str
    kind: str
    base_url: str
    said: AnswerFacts | None
    carries: bool = False


class Tracing(Protocol):
    """Begins the spans of requests. It must not raise and must not wait."""

    def begin(self, headers: Mapping[str, str], method: str, address: str) -> Trace:
        """The span of a request with these headers, names in lower case."""
        ...

    def answered(self, trace: Trace, surface: str, status: int) -> None:
        """A request was answered that never became a call."""
        ...


def new_span_id() -> str:
    # Not from `random`, whose state forked processes share.
    return os.urandom(8).hex()


def sent_on(trace: Trace, hop: Hop) -> dict[str, str]:
    """The headers by which a provider goes on with the trace."""
    headers = {"traceparent": f"00-{trace.trace_id}-{hop.span_id}-{'01' if trace.sampled else '00'}"}
    if trace.state:
        headers["tracestate"] = trace.state
    return headers
