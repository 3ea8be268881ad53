"""The gateway's errors: one catalogue of faults, said in each client's own dialect.

A fault is a row: its HTTP status, how OpenAI's envelope names it, how Anthropic's does, and whether a
client's SDK should try again. `GatewayError` is one occurrence of a fault and the only exception that
crosses rooms on its way to a client.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import orjson

Family = Literal["openai", "anthropic", "ollama"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the catalogue. `status` is OpenAI's; Anthropic's differs where `anthropic_status` is set."""

    name: str
    status: int
    openai_type: str
    openai_code: str | None
    anthropic_type: str
    should_retry: bool
    anthropic_status: int | None = None


AUTH = Fault("auth", 401, "invalid_request_error", "invalid_api_key", "authentication_error", False)
PERMISSION = Fault("permission", 403, "permission_error", "permission_denied", "permission_error", False)
NO_MODEL = Fault("no_model", 404, "invalid_request_error", "model_not_found", "not_found_error", False)
NOT_FOUND = Fault("not_found", 404, "invalid_request_error", "not_found", "not_found_error", False)
BAD_METHOD = Fault(
    "bad_method", 405, "invalid_request_error", "method_not_allowed", "invalid_request_error", False
)
BAD_REQUEST = Fault(
    "bad_request", 400, "invalid_request_error", "invalid_value", "invalid_request_error", False
)
MEDIA = Fault("media", 415, "invalid_request_error", "unsupported_media_type", "invalid_request_error", False)
SIZE = Fault("size", 413, "invalid_request_error", "request_too_large", "request_too_large", False)
SLOW_REQUEST = Fault(
    "slow_request", 408, "invalid_request_error", "request_timeout", "invalid_request_error", True
)
RATE = Fault("rate", 429, "rate_limit_error", "rate_limit_exceeded", "rate_limit_error", True)
BUDGET = Fault("budget", 429, "insufficient_quota", "insufficient_quota", "billing_error", False, 402)
BUSY = Fault("busy", 503, "server_error", "overloaded", "overloaded_error", True, 529)
DEPENDENCY = Fault("dependency", 503, "server_error", "dependency_unavailable", "api_error", True)
UPSTREAM_BAD = Fault("upstream_bad", 502, "upstream_error", "upstream_error", "api_error", False)
UPSTREAM_TIMEOUT = Fault(
    "upstream_timeout", 504, "upstream_error", "upstream_timeout", "timeout_error", False
)
INTERNAL = Fault("internal", 500, "server_error", "internal_error", "api_error", False)


@dataclass(frozen=True, slots=True)
class Detail:
    """What one occurrence adds to its fault; each field is optional.

    `code` replaces the fault's OpenAI code; `error_code` is Anthropic's word in `error.details`, by which
    its SDKs mend a conversation; `param` names the field at fault; `status` replaces the HTTP status (a
    provider's own 4xx is kept); `retry_after` is seconds, as the client is told; `cool` the seconds for
    which the provider itself asked to be left alone, which may be more.
    """

    code: str | None = None
    error_code: str | None = None
    param: str | None = None
    status: int | None = None
    retry_after: float | None = None
    cool: float | None = None
    headers: tuple[tuple[str, str], ...] = ()


NO_DETAIL = Detail()


class GatewayError(Exception):
    """One occurrence of a fault. `message` goes to the client: it holds no secret, address or traceback."""

    def __init__(self, fault: Fault, message: str, detail: Detail = NO_DETAIL) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.detail = detail

    @property
    def code(self) -> str:
        """The machine-readable code, the same in every dialect, in logs and in metrics."""
        return self.detail.code or self.fault.openai_code or self.fault.name

    def final(self) -> GatewayError:
        """The same for a client that should not ask again: it has been asked for again already."""
        return GatewayError(replace(self.fault, should_retry=False), self.message, self.detail)

    def status(self, family: Family) -> int:
        """The HTTP status for a client of this family."""
        if self.detail.status is not None:
            return self.detail.status
        if family == "anthropic" and self.fault.anthropic_status is not None:
            return self.fault.anthropic_status
        return self.fault.status

    def headers(self) -> list[tuple[str, str]]:
        """Reply headers that this error brings: `x-should-retry`, `retry-after` twice, and its own."""
        headers = [("x-should-retry", "true" if self.fault.should_retry else "false"), *self.detail.headers]
        if self.detail.retry_after is not None:
            wait = max(0.0, self.detail.retry_after)
            headers.append(("retry-after", str(math.ceil(wait))))
            # The SDKs of both families read this one first.
            headers.append(("retry-after-ms", str(math.ceil(wait * 1000))))
        return headers


def bad_request(message: str, param: str | None = None, code: str | None = None) -> GatewayError:
    """A 400 in the client's dialect that names the field at fault."""
    return GatewayError(BAD_REQUEST, message, Detail(code=code, param=param))


def envelope(family: Family, error: GatewayError, request_id: str) -> Mapping[str, object]:
    """The error as the JSON object that a client of this family expects."""
    if family == "anthropic":
        said: dict[str, object] = {"type": error.fault.anthropic_type, "message": error.message}
        if error.detail.error_code is not None:
            said["details"] = {"error_code": error.detail.error_code}
        return {"type": "error", "error": said, "request_id": request_id}
    return {
        "error": {
            "message": error.message,
            "type": error.fault.openai_type,
            "param": error.detail.param,
            "code": error.code,
        },
        "request_id": request_id,
    }


def render(family: Family, error: GatewayError, request_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of an error reply before any byte of a stream has gone out."""
    return error.status(family), error.headers(), orjson.dumps(envelope(family, error, request_id))
