"""Reads what providers say when they refuse: any status, any envelope, any garbage, to one GatewayError.

The provider's own words reach a client only for faults of the request, and then without keys, addresses or
identifiers of the account behind the gateway.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from dialects.errors import (
    BAD_REQUEST,
    BUDGET,
    BUSY,
    NO_MODEL,
    NOT_FOUND,
    RATE,
    SIZE,
    UPSTREAM_BAD,
    UPSTREAM_TIMEOUT,
    Detail,
    Fault,
    GatewayError,
)

# A message longer than this is a dump, not an explanation.
_MESSAGE_LIMIT = 1000
# Clients wait at most a minute on a provider's word; beyond that another try is theirs to decide.
_RETRY_LIMIT = 60.0
# However long a provider asks to be left alone, after this it is asked again: its word may be a mistake.
COOL_LIMIT = 300.0

_SECRETS = re.compile(
    r"\b(?:https?|wss?|ftp)://[^\s\"'<>)\]}]+"  # addresses
    r"|\b(?:bearer|basic)\s+[\w.~+/=*-]{6,}"  # credentials in a header's form
    r"|\b(?:sk|pk|rk|gsk|xai|key|gw|hf|AIza|AKIA|ghp|org|proj|user|acct)[-_][\w*.-]{6,}"  # keys, accounts
    r"|\beyJ[\w-]{4,}\.[\w.-]*"  # JSON web tokens
    r"|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"  # IPv4
    r"|(?<![\w.])(?!/v1/(?:chat|responses|messages|images|audio)/\w+(?![\w/]))(?:/[\w.-]+){3,}"  # file paths
    r"|[\w+-]{40,}",  # anything long and opaque
    re.IGNORECASE | re.ASCII,
)
# What servers say of a body that is JSON but not of their form, where OpenAI and Anthropic say 400.
_UNFIT = 422
_WORD = re.compile(r"[A-Za-z][\w.\-\[\]]{0,79}", re.ASCII)

_TOO_LONG = re.compile(
    r"prompt is too long|maximum context length|context_length_exceeded|context window"
    r"|exceeds? (?:the )?(?:model's )?(?:available |maximum )?(?:context|input)|exceed context limit"
    r"|too many (?:input )?tokens|input is too long",
    re.IGNORECASE,
)
# How providers give the two numbers: (pattern, which group is the prompt, which the limit).
_NUMBERS: tuple[tuple[re.Pattern[str], int, int], ...] = (
    (re.compile(r"too long:? (\d+) tokens > (\d+)"), 1, 2),
    (re.compile(r"maximum context length (?:is|of) (\d+) tokens.{0,200}?(?:in|requested|has) (\d+)"), 2, 1),
    (re.compile(r"(\d+) tokens?\)? exceeds? .{0,60}?(?:context|size|limit|window).{0,40}?(\d{3,})"), 1, 2),
)
# What servers of open models say with a 500 of what only the request is to blame for: pictures for a model
# that does not see, pictures that are none, a prompt that is too long.
_BLAMELESS_500 = re.compile(
    r"missing data required for image input|image input is not supported|failed to load image"
    r"|image: unknown format|exceeds (?:the |maximum )?context length",
    re.IGNORECASE,
)
_OVER_SUM = re.compile(r"context limit: (\d+) \+ (\d+) > (\d+)")

# What a word in an error object means as a status, for errors that come inside a stream.
_STATUS_OF_WORD: Mapping[str, int] = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "insufficient_quota": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "requests": 429,
    "tokens": 429,
    "server_error": 500,
    "api_error": 500,
    "internal_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "overloaded": 529,
    "server_overloaded": 529,
}


@dataclass(frozen=True, slots=True)
class Said:
    """What could be read of a provider's error object; "" where it says nothing."""

    message: str = ""
    type: str = ""
    code: str = ""
    param: str = ""
    error_code: str = ""

    def words(self) -> tuple[str, str]:
        return self.code, self.type


NOTHING_SAID = Said()


def from_reply(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """An error reply (status 400 and up) as a GatewayError."""
    try:
        said = read(orjson.loads(body))
    except ValueError:
        said = NOTHING_SAID
    return classify(status, said, retry_after(headers))


def from_event(error: Any) -> GatewayError:
    """An error object within a stream, whose status is read from its words."""
    said = read({"error": error})
    status = 502
    for word in (said.code, said.type):
        if word in _STATUS_OF_WORD:
            status = _STATUS_OF_WORD[word]
            break
        if word.isdecimal() and len(word) == 3 and word[0] in "45":
            status = int(word)
            break
    return classify(status, said, None)


def across(error: GatewayError) -> GatewayError:
    """The same refusal for a client of another dialect than the provider's. What a body of the gateway's own
    making was refused for with 422 is a bad request there: no other dialect's clients know the difference."""
    if error.detail.status != _UNFIT:
        return error
    return GatewayError(error.fault, error.message, replace(error.detail, status=BAD_REQUEST.status))


def read(body: Any) -> Said:
    """The error in any envelope in use: OpenAI's and Anthropic's `{"error": {...}}`, Ollama's
    `{"error": "text"}`, vLLM's flat object, FastAPI's `detail`, Gemini's list of one."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return NOTHING_SAID
    error = body.get("error") or body.get("detail") or body
    if isinstance(error, str):
        return Said(message=error)
    if isinstance(error, list) and error:
        error = error[0]
    if not isinstance(error, dict):
        return NOTHING_SAID
    message = error.get("message") or error.get("msg")
    details = error.get("details")
    error_code = _word(details.get("error_code")) if isinstance(details, dict) else ""
    code = error.get("code")
    if code is None:
        code = error_code
    return Said(
        message=message if isinstance(message, str) else "",
        type=_word(error.get("type")),
        code=str(code) if type(code) is int else _word(code),
        param=_word(error.get("param")),
        error_code=error_code,
    )


def classify(status: int, said: Said, wait: float | None) -> GatewayError:
    """The fault for a status and what was said, most telling sign first. `wait` in seconds."""
    if status >= 500 and _BLAMELESS_500.search(said.message[:_MESSAGE_LIMIT]):
        # Or one client's pictures would open the breaker of a provider that serves all others well.
        status = BAD_REQUEST.status
    if status < 500 and status not in (401, 403) and _is_too_long(said):
        return _too_long(said)
    if status == 402 or _is_unpaid(said):
        return GatewayError(BUDGET, "The provider's account for this model has no credit or quota left.")
    if status in (401, 403):
        # The provider's text would tell the client that its key is bad, and shows part of ours.
        return GatewayError(
            UPSTREAM_BAD,
            "The upstream authentication failed: the provider refused the gateway's credential.",
            Detail(code="upstream_auth"),
        )
    if status == 429:
        return GatewayError(
            RATE,
            _plain(said, "The provider's rate limit for this model is reached."),
            _later(wait),
        )
    if status in (503, 529):
        return GatewayError(BUSY, "The provider is overloaded.", _later(wait))
    if status in _KEPT:
        return _refused(status, said)
    return _failed(status)


def _later(wait: float | None) -> Detail:
    if wait is None:
        return Detail()
    return Detail(retry_after=min(wait, _RETRY_LIMIT), cool=wait)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (seconds or a date), within 0 to 300; None
    for none and for garbage. Header names in lower case."""
    seconds = _number(headers.get("retry-after-ms"))
    if seconds is not None:
        return _clamped(seconds / 1000)
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return _clamped(seconds)


def redact(text: str) -> str:
    """`text` for a client: bounded, on one line, without keys, addresses, paths and long opaque strings."""
    return _SECRETS.sub("[redacted]", " ".join(text[:_MESSAGE_LIMIT].split()))


# Refusals of the request itself: every other target would say the same, so their status is kept.
_KEPT: Mapping[int, Fault] = {
    400: BAD_REQUEST,
    404: NO_MODEL,
    409: BAD_REQUEST,
    413: SIZE,
    _UNFIT: BAD_REQUEST,
    451: BAD_REQUEST,
}


def _refused(status: int, said: Said) -> GatewayError:
    fault = _KEPT[status]
    message = _plain(said, f"The provider refused the request (status {status}).")
    if status == 404 and not said.message:
        # A page instead of an error object: the address is wrong, not the model.
        fault, message = NOT_FOUND, "The provider does not know this address or model."
    code = said.code if fault is BAD_REQUEST and not said.code.isdecimal() else ""
    return GatewayError(
        fault,
        message,
        Detail(
            code=code or None,
            error_code=said.error_code or None,
            param=said.param or None,
            status=status,
        ),
    )


def _failed(status: int) -> GatewayError:
    if status in (408, 504):
        return GatewayError(UPSTREAM_TIMEOUT, "The provider did not answer in its own time limit.")
    return GatewayError(UPSTREAM_BAD, f"The provider failed to answer (status {status}).")


def _is_unpaid(said: Said) -> bool:
    if "insufficient_quota" in said.words() or "billing_error" in said.words():
        return True
    # Anthropic says it with a 400.
    return "credit balance is too low" in said.message.lower()


def _is_too_long(said: Said) -> bool:
    return said.code == "context_length_exceeded" or bool(_TOO_LONG.search(said.message[:_MESSAGE_LIMIT]))


def _too_long(said: Said) -> GatewayError:
    """The context is exceeded, in the words that clients of both families look for."""
    numbers = _context_numbers(said.message[:_MESSAGE_LIMIT])
    if numbers:
        size, limit = numbers
        message = (
            f"prompt is too long: {size} tokens > {limit} maximum. "
            f"This model's maximum context length is {limit} tokens."
        )
    elif "prompt is too long" in said.message:
        message = redact(said.message)
    else:
        message = f"prompt is too long: {redact(said.message)}"
    return GatewayError(
        BAD_REQUEST, message, Detail(code="context_length_exceeded", param=said.param or None, status=400)
    )


def _context_numbers(text: str) -> tuple[int, int] | None:
    text = text.replace(",", "")
    total = _OVER_SUM.search(text)
    if total:
        return int(total[1]) + int(total[2]), int(total[3])
    for pattern, size, limit in _NUMBERS:
        found = pattern.search(text)
        if found:
            return int(found[size]), int(found[limit])
    return None


def _plain(said: Said, otherwise: str) -> str:
    return redact(said.message) or otherwise


def _word(value: Any) -> str:
    """A machine-readable word, or "" for anything that is none."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def _number(value: str | None) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _clamped(seconds: float) -> float:
    return min(max(0.0, seconds), COOL_LIMIT)
