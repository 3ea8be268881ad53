"""What a failed attempt means: for its target's breaker, for another try there, and for the other targets."""

from __future__ import annotations

from dataclasses import dataclass

from dialects.errors import BAD_REQUEST, BUDGET, BUSY, RATE, UPSTREAM_BAD, UPSTREAM_TIMEOUT, GatewayError
from pipeline.breaker import Verdict
from pipeline.failures import DEADLINE_CODES
from providers.wire import UpstreamError
from routing.snapshot import FailureClass

# A provider that says 429 and not for how long: most count by the minute, and smooth it.
RATE_COOL = 5.0
# A provider that is set up wrongly, or an answer over our own caps: trying on would hide the one and repeat
# the cost of the other.
_FINAL = frozenset(
    {
        "upstream_redirect",
        "upstream_event_too_large",
        "upstream_answer_too_large",
        "upstream_not_a_stream",
    }
)
_CONTENT = frozenset({"content_policy_violation", "content_filter", "content_policy"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """`kind`: for which spare targets it is the moment, None for none. `verdict`: for the breaker.
    `again`: the same target may do better in a moment. `elsewhere`: any other target may do better now.
    `cool`: seconds for which the target takes no calls. `key`: it was the credential that failed."""

    kind: FailureClass | None = None
    verdict: Verdict = "neutral"
    again: bool = False
    elsewhere: bool = False
    cool: float = 0.0
    key: bool = False


def judge(error: GatewayError, *, stream: bool) -> Outcome:
    """The outcome of an attempt that ended with `error` before any content. `stream`: of a streamed call,
    or of one that may be billed twice."""
    fault = error.fault
    if fault is RATE:
        cool = error.detail.cool
        return Outcome(
            "rate_limit", again=True, elsewhere=True, cool=RATE_COOL if cool is None else cool, key=True
        )
    if fault is BUDGET:
        # The provider's account has no credit: another credential, or another provider.
        return Outcome("outage", elsewhere=True, key=True)
    if fault is BUSY:
        return Outcome("outage", "failed", again=True, elsewhere=True, cool=error.detail.cool or 0.0)
    if fault is UPSTREAM_BAD:
        return _bad(error)
    if fault is UPSTREAM_TIMEOUT:
        return _late(error, stream=stream)
    if fault is BAD_REQUEST:
        if error.code == "context_length_exceeded":
            return Outcome("context_length")
        if error.code in _CONTENT:
            return Outcome("content_policy")
    return Outcome()


def _bad(error: GatewayError) -> Outcome:
    if error.code == "upstream_auth":
        return Outcome("outage", elsewhere=True, key=True)
    cause = error.__cause__
    reason = cause.reason if isinstance(cause, UpstreamError) else None
    if error.code in _FINAL or reason == "too_large":
        return Outcome(verdict="failed")
    # A certificate or an address that is refused is so the next time as well.
    hopeless = reason in ("tls", "forbidden")
    return Outcome("outage", "failed", again=not hopeless, elsewhere=True)


def _late(error: GatewayError, *, stream: bool) -> Outcome:
    if error.code in DEADLINE_CODES:
        # A client that gives its calls too little time must not close a provider to all others.
        return Outcome()
    cause = error.__cause__
    if not isinstance(cause, UpstreamError) or cause.reason == "connect_timeout":
        # It said so itself, or was never reached.
        return Outcome("outage", "failed", again=True, elsewhere=True)
    # It may be at work on it, and bill it. A stream that has not begun has cost little; a whole answer would
    # be ordered, and paid, twice. And a silent provider is not asked again: that only doubles the wait.
    return Outcome("outage", "failed", elsewhere=stream)
