"""Opens the record of a call and, when the call closes, hands it once to every book."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipeline.call import Call, Handler, Record, Reply
from pipeline.prices import cost_of, price_of, used_by


class Book(Protocol):
    """Whoever keeps something of a closed call: metrics, log, ledger. It must not raise and must not wait."""

    def opened(self, record: Record) -> None: ...

    def closed(self, record: Record) -> None: ...


class Observe:
    """The outermost handler: whatever happens inside, each book sees the call open and close once."""

    def __init__(self, inner: Handler, books: Sequence[Book]) -> None:
        self._inner = inner
        self._books = tuple(books)

    async def __call__(self, call: Call) -> Reply:
        record = call.record
        for book in self._books:
            book.opened(record)
        call.on_close(lambda: self._close(call))
        return await self._inner(call)

    def _close(self, call: Call) -> None:
        record = call.record
        record.used = used_by(call)
        record.price = price_of(call)
        record.cost = cost_of(call, record.used)
        for book in self._books:
            book.closed(record)
