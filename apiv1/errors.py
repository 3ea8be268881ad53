"""Errors as replies in the client's dialect, and the headers that every reply carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dialects.errors import AUTH, BUSY, Detail, Family, GatewayError, render
from pipeline.call import Reply

# Answers hold what a team asked: nobody in between keeps them, and no browser guesses what they are.
SAFE_HEADERS = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"))
# Some proxies pass a stream on piece by piece only when they read `no-cache`.
STREAM_HEADERS = (("cache-control", "no-cache, no-store"), *SAFE_HEADERS[1:])

# Sooner the operators have hardly changed their mind, and what is refused comes again.
_SHED_SECONDS = 30


def request_id_headers(request_id: str) -> list[tuple[str, str]]:
    """The id under both names: OpenAI's SDK reads `x-request-id`, Anthropic's `request-id`."""
    return [("x-request-id", request_id), ("request-id", request_id)]


def error_reply(family: Family, error: GatewayError, request_id: str) -> Reply:
    """The error as a whole reply in this family's envelope."""
    status, headers, body = render(family, error, request_id)
    return Reply(
        status,
        [("content-type", "application/json"), *headers, *SAFE_HEADERS, *request_id_headers(request_id)],
        body,
    )


def draining() -> GatewayError:
    """What open requests are told when the gateway has waited long enough and goes down."""
    return GatewayError(
        BUSY, "The gateway is restarting; send the request again.", Detail(code="draining", retry_after=1)
    )


def revoked() -> GatewayError:
    """What open requests are told whose key was revoked meanwhile."""
    return GatewayError(AUTH, "The API key was revoked.", Detail(code="revoked_api_key"))


def overloaded() -> GatewayError:
    """What a call is told that is not let in, because those that are in need all that there is."""
    return GatewayError(BUSY, "The gateway has too much to do at the moment.", Detail(retry_after=1))


def shed() -> GatewayError:
    """What a call of low priority is told while operators have such calls refused."""
    words = "Calls of low priority are refused for a while, by the gateway's operators."
    return GatewayError(BUSY, words, Detail(code="low_priority_shed", retry_after=_SHED_SECONDS))


# What the gateway says when it is the one that gives an open request up, by the reason.
GIVEN_UP: Mapping[str, Callable[[], GatewayError]] = {"draining": draining, "revoked": revoked}
