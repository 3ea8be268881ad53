"""A stream under a hard budget: what goes beyond its reservation is reserved on the way, or it is cut."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, runtime_checkable

from dialects import estimate
from dialects.errors import GatewayError
from dialects.types import TellsFailure
from pipeline.call import Body, Call

# Reserves so many tokens more. The error that ends the stream where nothing is left of a budget.
Reserve = Callable[[int], Awaitable[GatewayError | None]]


@runtime_checkable
class Completes(Protocol):
    """A body that knows whether its answer is there to its end."""

    @property
    def complete(self) -> bool: ...


# Reserved at once: some seconds of a model's talk.
STEP_TOKENS = 1024


class AllowedStream:
    """A reply's body in pieces. `reserved`: the tokens of output that were reserved before it began."""

    def __init__(self, body: Body, call: Call, reserved: int, reserve: Reserve) -> None:
        self._body = body
        self._call = call
        self._reserved = reserved
        self._reserve = reserve
        self._over = False

    def __aiter__(self) -> AllowedStream:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        body = self._body
        piece = await anext(body)
        while estimate.tokens(self._call.record.output_chars) > self._reserved:
            if isinstance(body, Completes) and body.complete:
                break
            error = await self._reserve(STEP_TOKENS)
            if error is not None:
                return piece + self._cut(error)
            self._reserved += STEP_TOKENS
        return piece

    def _cut(self, error: GatewayError) -> bytes:
        """The provider has written this piece, and bills it: it goes out, and after it why no more comes."""
        self._over = True
        call, body = self._call, self._body
        call.record.outcome, call.record.code = "error", error.code
        said = body.fail(error, call.id) if isinstance(body, TellsFailure) else None
        return call.dialect.error_event(error, call.id) if said is None else said

    async def aclose(self) -> None:
        """Close the stream at the provider too."""
        await self._body.aclose()
