"""Answers that a server gives by itself, before the application has seen anything."""

from __future__ import annotations

from typing import NamedTuple

from apiv1.errors import SAFE_HEADERS, request_id_headers
from apiv1.inbound import new_request_id
from dialects.errors import BAD_REQUEST, SLOW_REQUEST, Detail, Family, GatewayError, render
from pipeline.call import Refusal

Headers = list[tuple[bytes, bytes]]
# The surface of a request that was not understood so far as to have one.
SURFACE = "http"


class Answer(NamedTuple):
    """`told`: what the gateway's books are to know of it."""

    status: int
    headers: Headers
    body: bytes
    told: Refusal


def refusal(family: Family, error: GatewayError) -> Answer:
    """The whole answer."""
    request_id = new_request_id()
    status, own, body = render(family, error, request_id)
    headers = [("content-type", "application/json"), *own, *SAFE_HEADERS, *request_id_headers(request_id)]
    told = Refusal(request_id, SURFACE, status, error.code, key_prefix="", team="")
    return Answer(status, [(name.encode(), value.encode()) for name, value in headers], body, told)


def head_too_large() -> GatewayError:
    """431."""
    return GatewayError(
        BAD_REQUEST, "The request's headers are too large.", Detail("headers_too_large", status=431)
    )


def too_slow(what: str) -> GatewayError:
    """408 for a head or a body that did not come in time."""
    return GatewayError(SLOW_REQUEST, f"The request's {what} did not arrive in time.")
