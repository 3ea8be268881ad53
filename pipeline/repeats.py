"""Whether a request that failed may be sent again."""

from __future__ import annotations

from dialects.errors import BUDGET, BUSY, RATE, GatewayError
from pipeline.call import Call
from providers.wire import UpstreamError


def repeatable(call: Call, error: GatewayError) -> bool:
    """False where it would make something twice, such as a batch, or where its body is gone: an upload is
    passed on as it comes, once."""
    parcel = call.parcel
    if parcel.upload is not None and parcel.upload.begun:
        return False
    if not parcel.once:
        return True
    cause = error.__cause__
    if isinstance(cause, UpstreamError):
        return not cause.sent
    # What a provider says before it has begun.
    return error.fault in (RATE, BUDGET, BUSY) or error.code == "upstream_auth"
