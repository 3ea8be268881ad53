"""The order of the stages, on one page: the last line is the outermost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pipeline.call import Handler
from pipeline.failover import Failover
from pipeline.observe import Book, Observe
from pipeline.upstream import Upstream
from providers.wire import Transport
from routing.plan import Draw
from routing.snapshot import Credential


def build(
    transports: Mapping[str, Transport],
    books: Sequence[Book],
    draw: Draw,
    pick: Callable[[Sequence[Credential]], Credential],
) -> Handler:
    """The whole pipeline as one handler. `draw` gives numbers in [0, 1), `pick` one credential of several."""
    handler: Handler = Upstream(transports, pick)
    handler = Failover(handler, draw)
    return Observe(handler, books)
