"""Takes what a call said and was answered, where its team has that captured; otherwise it costs one look."""

from __future__ import annotations

import time
from collections.abc import Awaitable

import orjson

from accounts.capture.setting import Captures, Capturing, Taken
from dialects.errors import GatewayError, envelope
from pipeline.call import Body, Call, Handler, Reply


class Capture:
    """The outermost handler: a call's end is known to it when all others know it. What goes to the client is
    not touched and not held back."""

    def __init__(self, inner: Handler, captures: Captures) -> None:
        self._inner = inner
        self._captures = captures

    def __call__(self, call: Call) -> Awaitable[Reply]:
        setting = call.caller.team.capture
        if setting is None or not setting.begins(call.id):
            return self._inner(call)
        return self._captured(call, setting)

    async def _captured(self, call: Call, setting: Capturing) -> Reply:
        tap = _Tap(call, setting, self._captures)
        call.on_close(tap.closed)
        try:
            reply = await self._inner(call)
        except GatewayError as error:
            tap.answer = orjson.dumps(envelope(call.dialect.family, error, call.id))
            raise
        tap.content_type = dict(reply.headers).get("content-type", "")
        if isinstance(reply.body, bytes):
            tap.answer = reply.body
        else:
            tap.body = reply.body
            reply.body = tap
        return reply


class _Tap:
    """A body that is read through it, and what was read. `answer`: where it is whole."""

    def __init__(self, call: Call, setting: Capturing, captures: Captures) -> None:
        self._call = call
        self._setting = setting
        self._captures = captures
        self._at = time.time()
        self._pieces: list[bytes] = []
        self._size = 0
        self._cut = False
        self.answer = b""
        self.content_type = "application/json"
        self.body: Body | None = None

    def __aiter__(self) -> _Tap:
        return self

    async def __anext__(self) -> bytes:
        assert self.body is not None  # noqa: S101 - it is nobody's body before that
        piece = await anext(self.body)
        if not self._cut:
            self._keep(piece)
        return piece

    async def aclose(self) -> None:
        if self.body is not None:
            await self.body.aclose()

    def _keep(self, piece: bytes) -> None:
        size = len(piece)
        if self._size + size > self._setting.taken or not self._captures.room(size):
            self._cut = True
        else:
            self._size += size
            self._pieces.append(piece)

    def closed(self) -> None:
        """The call is over, and all others know it."""
        self._captures.free(self._size)
        # Whoever reads on now reads for himself.
        truncated, self._cut = self._cut, True
        call, record = self._call, self._call.record
        pieces, self._pieces = self._pieces, []
        failed = record.outcome == "error" or record.status >= 400
        if self._setting.mode == "errors" and not failed:
            return
        answer = self.answer or b"".join(pieces)
        self._captures.put(
            Taken(
                request_id=call.id,
                team_id=call.caller.team.id,
                at=self._at,
                surface=record.surface,
                status=record.status,
                cached=record.cache == "hit" or record.semantic == "hit",
                setting=self._setting,
                body=call.body,
                answer=answer,
                content_type=self.content_type,
                cut=truncated,
                # The request is held as bytes and as what they mean.
                size=len(call.raw) * 2 + len(answer),
            )
        )
