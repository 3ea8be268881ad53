"""What a client is told when a provider fails below or beside its own error replies."""

from __future__ import annotations

from collections.abc import Mapping

from dialects.errors import UPSTREAM_BAD, UPSTREAM_TIMEOUT, Detail, GatewayError
from providers.wire import Reason, UpstreamError

_UNREACHABLE = "The provider could not be reached."
_BROKEN = "The provider's answer broke off or could not be read."
_FAILURES: Mapping[Reason, tuple[str, str]] = {
    "refused": ("upstream_unreachable", _UNREACHABLE),
    "dns": ("upstream_unreachable", _UNREACHABLE),
    "tls": ("upstream_unreachable", "The provider's TLS certificate or handshake was refused."),
    "forbidden": ("upstream_unreachable", "The provider's address is one that this gateway may not call."),
    "reset": ("upstream_truncated", _BROKEN),
    "truncated": ("upstream_truncated", _BROKEN),
    "too_large": ("upstream_invalid_response", "The provider's answer is too large."),
    "invalid": ("upstream_invalid_response", _BROKEN),
    "connect_timeout": ("upstream_connect_timeout", "Connecting to the provider timed out."),
    "first_byte_timeout": ("upstream_first_byte_timeout", "The provider did not begin to answer in time."),
    "idle_timeout": ("upstream_idle_timeout", "The provider stopped answering."),
}
# The call's own time was over: a provider that had less than it needs has not failed.
DEADLINE_CODES = frozenset({"deadline_exceeded", "stream_max_duration"})


def as_gateway_error(error: UpstreamError) -> GatewayError:
    """What a client is told of a failure below HTTP: what happened, without addresses or library words."""
    code, message = _FAILURES[error.reason]
    fault = UPSTREAM_TIMEOUT if error.reason.endswith("timeout") else UPSTREAM_BAD
    return GatewayError(fault, message, Detail(code=code))


def invalid_response(message: str) -> GatewayError:
    return GatewayError(UPSTREAM_BAD, message, Detail(code="upstream_invalid_response"))


def truncated() -> GatewayError:
    return GatewayError(UPSTREAM_BAD, _BROKEN, Detail(code="upstream_truncated"))


def took_too_long() -> GatewayError:
    """What a stream ends with whose call has taken all the time that it had."""
    message = "The answer took longer than this call is allowed."
    return GatewayError(UPSTREAM_TIMEOUT, message, Detail(code="stream_max_duration"))


def out_of_time() -> GatewayError:
    """The same before there is anything of an answer."""
    message = "The request's time was over before the provider had answered."
    return GatewayError(UPSTREAM_TIMEOUT, message, Detail(code="deadline_exceeded"))
