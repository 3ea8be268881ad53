"""Requests to the identity provider: bounded in time and size, over verified TLS, with no redirects, cookies
or proxies of the environment."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from console.oidc.errors import UnavailableError

# Of one request from beginning to end, whatever drips: a person waits for it.
SECONDS = 8.0
_STEP_SECONDS = 5.0
# Discovery documents and key sets have some kilobytes.
MOST_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and what came as a JSON object; {} where it was none."""

    status: int
    body: Mapping[str, Any] = field(repr=False)


def get(url: str, tls: ssl.SSLContext) -> Answer:
    """GET. Raises UnavailableError."""
    return _wait("GET", url, tls)


def post(url: str, tls: ssl.SSLContext, form: Mapping[str, str], auth: tuple[str, str] | None) -> Answer:
    """POST a form, with HTTP Basic where there is `auth`. Raises UnavailableError."""
    return _wait("POST", url, tls, data=dict(form), auth=auth)


def _wait(method: str, url: str, tls: ssl.SSLContext, **more: Any) -> Answer:
    # A loop of its own in the thread of this page: only so can all of a request be given one deadline.
    try:
        status, body = asyncio.run(_ask(method, url, tls, more))
    except TimeoutError:
        raise UnavailableError("identity provider: no answer in time") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        # The class alone: a message may repeat what was sent.
        raise UnavailableError(f"identity provider: {type(error).__name__}") from None
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    return Answer(status, parsed if isinstance(parsed, dict) else {})


async def _ask(method: str, url: str, tls: ssl.SSLContext, more: Mapping[str, Any]) -> tuple[int, bytes]:
    # What is not compressed does not unfold to more than it is.
    headers = {"accept": "application/json", "accept-encoding": "identity"}
    client = httpx.AsyncClient(verify=tls, timeout=_STEP_SECONDS, trust_env=False, follow_redirects=False)
    body = bytearray()
    async with (
        asyncio.timeout(SECONDS),
        client,
        client.stream(method, url, headers=headers, **more) as response,
    ):
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > MOST_BYTES:
                raise UnavailableError("identity provider: the answer is too large")
    return response.status_code, bytes(body)
