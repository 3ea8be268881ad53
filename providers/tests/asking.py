"""What the transport's tests share: a request with short timeouts, and a wait for what happens elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from providers.transport import HttpTransport
from providers.wire import UpstreamRequest
from tests.support.fake_upstream import FakeUpstream
from tests.support.upstream.wire import Received

BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
# Far over what a loopback needs: tests that expect success never wait for it.
PATIENCE = 5.0


def ask(url: str, body: bytes = BODY, **changes: Any) -> UpstreamRequest:
    """A POST to a loopback upstream; `changes` replace fields of it."""
    fields: dict[str, Any] = {
        "method": "POST",
        "url": url,
        "headers": {"content-type": "application/json", "authorization": "Bearer sk-1"},
        "body": body,
        "connect": PATIENCE,
        "first_byte": PATIENCE,
        "idle": PATIENCE,
        "allow_private": True,
    }
    return UpstreamRequest(**{**fields, **changes})


async def fetch(transport: HttpTransport, request: UpstreamRequest) -> bytes:
    """The whole body of an answer."""
    response = await transport.send(request)
    try:
        return await response.read(1 << 30)
    finally:
        await response.aclose()


async def until(condition: Callable[[], object]) -> None:
    """Wait until something that happens outside this task is so. TimeoutError: it never was."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - the condition may belong to another thread
            await asyncio.sleep(0.005)


async def closed(upstream: FakeUpstream, request: Received | None = None) -> None:
    """Wait until the upstream has seen that we closed a request's connection, the last one's by default."""
    seen = request or upstream.last
    await until(lambda: seen.closed_at is not None)
