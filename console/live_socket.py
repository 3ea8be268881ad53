"""The WebSocket of the page of live traffic: a message a second to whoever may see requests."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import orjson
from channels.auth import get_user
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.sessions.models import Session
from django.utils import timezone

from console.apps import desk, running
from console.live_told import Seat, seat_of, told

# How long somebody goes on watching who has been logged out, or may see less since.
_CHECK_SECONDS = 10.0
# Of the range that is left to applications: 4401 logged out or not permitted, 4503 nothing to watch here.
_NOT_PERMITTED = 4401
_NOTHING_HERE = 4503
# A page that is closed with it asks again, and says meanwhile that it hears nothing.
_FAILED = 1011

logger = logging.getLogger(__name__)


class LiveSocket(AsyncWebsocketConsumer):  # type: ignore[misc]  # it has no types
    """Tells, and listens to nothing."""

    _task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        seat = await self._seat()
        if seat is None:
            await self.close(code=_NOT_PERMITTED)
            return
        await self.accept()
        self._task = asyncio.create_task(self._serve(seat))

    async def disconnect(self, _code: int) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _serve(self, seat: Seat) -> None:
        try:
            await self._tell(seat)
        except Exception as error:  # noqa: BLE001 - a background loop: a page must not stand still as if nothing happened
            logger.warning("a page of live traffic was let go", extra={"error": type(error).__name__})
            await self.close(code=_FAILED)

    async def _tell(self, seat: Seat) -> None:
        here = desk()
        if here is None:
            await self.close(code=_NOTHING_HERE)
            return
        checked = time.monotonic()
        with here.watch() as beats:
            while True:
                beat = await beats.get()
                if time.monotonic() - checked > _CHECK_SECONDS:
                    found = await self._seat()
                    if found is None:
                        await self.close(code=_NOT_PERMITTED)
                        return
                    seat, checked = found, time.monotonic()
                now = running()
                said = told(beat, seat, now.snapshot() if now is not None else None)
                await self.send(text_data=orjson.dumps(said).decode())

    async def _seat(self) -> Seat | None:
        """By what is so now, and not when the page was opened: what is read of a session is kept with it, so
        whether it is over is asked by itself."""
        session: Any = self.scope["session"]
        if not await Session.objects.filter(
            session_key=session.session_key or "", expire_date__gt=timezone.now()
        ).aexists():
            return None
        user: Any = await get_user(self.scope)
        seat: Seat | None = await database_sync_to_async(seat_of)(user)
        return seat
