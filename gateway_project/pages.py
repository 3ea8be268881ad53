"""The pages: Django's own stack, loaded when somebody first asks for one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from django.core.handlers.asgi import ASGIHandler
from django.urls import get_resolver

from gateway_project.optional import import_without
from gateway_project.scrape import ADDRESS

T = TypeVar("T")


class Pages:
    """ASGI 3, for HTTP. Most processes are never asked for a page, or for no other than /metrics, which needs
    none of what the admin is made of: some 25 MiB."""

    def __init__(self) -> None:
        self._stack = Once(ASGIHandler)
        self._addresses = Once(_addresses)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] != ADDRESS:
            await self._addresses.get()
        handler = await self._stack.get()
        await handler(scope, receive, send)


class Once(Generic[T]):
    """What is made when it is first asked for, in a thread: a second of imports would hold up every call.

    Whoever asks meanwhile waits for the same. If it cannot be made, all who wait are told, and who asks next
    makes another try.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._task: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The thing. Raises what making it raised."""
        if self._task is None:
            self._task = asyncio.create_task(asyncio.to_thread(self._make))
            self._task.add_done_callback(self._ended)
        # Whoever leaves while he waits takes it away from nobody else.
        return await asyncio.shield(self._task)

    def _ended(self, task: asyncio.Task[T]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._task = None


def _addresses() -> object:
    """Everything that Django's resolver knows: it would read them on the event loop."""
    # The theme looks for fields of PostgreSQL too, to dress them: see apps.py.
    import_without("unfold.overrides", ["django.contrib.postgres"])
    return get_resolver().url_patterns
