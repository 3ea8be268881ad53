"""Errors as gRPC says them: a code, the message, and details that a program can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import grpc
import orjson
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2

from dialects import errors

DOMAIN = "llmgateway"
_DETAILS = "grpc-status-details-bin"
_CODES: Mapping[int, grpc.StatusCode] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    402: grpc.StatusCode.RESOURCE_EXHAUSTED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    409: grpc.StatusCode.ABORTED,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
# An error inside a stream has no status: it is that of its fault, which its code or its type names.
_FAULTS = [each for each in vars(errors).values() if isinstance(each, errors.Fault)]
_BY_CODE = {fault.openai_code: fault.status for fault in reversed(_FAULTS)}
_BY_TYPE = {fault.openai_type: fault.status for fault in reversed(_FAULTS)} | {"invalid_request_error": 400}


class Status(NamedTuple):
    """As `abort_with_status` takes it."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def of_reply(status: int, headers: Mapping[str, str], body: bytes) -> Status:
    """The error of a reply in OpenAI's envelope."""
    try:
        envelope = orjson.loads(body)
        return _status(status, envelope["error"], headers, str(envelope.get("request_id") or ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _status(status, {"message": "The gateway's answer could not be read."}, headers, "")


def of_event(envelope: Mapping[str, Any], headers: Mapping[str, str]) -> Status:
    """An error inside a stream."""
    error = envelope["error"]
    code = str(error.get("code") or "")
    http = _BY_CODE.get(code) or (504 if code.endswith("timeout") else _BY_TYPE.get(error.get("type"), 500))
    return _status(http, error, headers, str(envelope.get("request_id") or headers.get("x-request-id", "")))


def of_error(error: errors.GatewayError) -> Status:
    """What was found before there was a call."""
    said = errors.envelope("openai", error, "")["error"]
    return _status(error.status("openai"), said, {}, "")


def unreadable(headers: Mapping[str, str]) -> Status:
    """An answer whose fields are not of the kinds that they have everywhere."""
    return _bad_answer("upstream_error", "The answer has no form that is known.", headers)


def broken(headers: Mapping[str, str]) -> Status:
    """A reply that ended without its end."""
    return _bad_answer("stream_ended", "The answer ended before it was whole.", headers)


def _bad_answer(code: str, message: str, headers: Mapping[str, str]) -> Status:
    said = {"message": message, "code": code, "type": "upstream_error"}
    return _status(502, said, headers, headers.get("x-request-id", ""))


def _status(http: int, error: Any, headers: Mapping[str, str], request_id: str) -> Status:
    code = _CODES.get(http, grpc.StatusCode.UNKNOWN if http < 500 else grpc.StatusCode.INTERNAL)
    message = str(error.get("message") or "")
    rich = status_pb2.Status(code=code.value[0], message=message)
    for detail in _details(http, error, headers, request_id):
        packed = Packed()
        packed.Pack(detail)
        rich.details.append(packed)
    trailing = [*metadata(headers), (_DETAILS, rich.SerializeToString())]
    return Status(code, message, tuple(trailing))


def _details(http: int, error: Any, headers: Mapping[str, str], request_id: str) -> Iterable[Any]:
    code, param = str(error.get("code") or "unknown"), error.get("param")
    told = {"code": code, "type": str(error.get("type") or ""), "http_status": str(http)}
    if param:
        told["param"] = str(param)
    yield error_details_pb2.ErrorInfo(reason=code.upper(), domain=DOMAIN, metadata=told)
    if request_id:
        yield error_details_pb2.RequestInfo(request_id=request_id)
    wait = headers.get("retry-after-ms", "")
    if wait.isdecimal() and headers.get("x-should-retry") != "false":
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(wait))
        yield retry
    violation = str(error.get("message") or "")
    if http == 400 and param:
        field = error_details_pb2.BadRequest.FieldViolation(field=str(param), description=violation)
        yield error_details_pb2.BadRequest(field_violations=[field])
    if http in (402, 429):
        quota = error_details_pb2.QuotaFailure.Violation(subject=code, description=violation)
        yield error_details_pb2.QuotaFailure(violations=[quota])


def metadata(headers: Mapping[str, str]) -> list[tuple[str, str | bytes]]:
    """Those headers of a reply that mean something over gRPC."""
    return [(name, value) for name, value in headers.items() if name not in _OF_HTTP and value.isascii()]


_OF_HTTP = frozenset(
    {"content-type", "content-length", "cache-control", "x-content-type-options", "connection", "allow"}
)
