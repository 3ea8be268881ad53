"""The order of the stages, on one page: the last line is the outermost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.cache import Cache
from pipeline.cache_shelf import Shelf
from pipeline.call import Handler
from pipeline.errand import Means
from pipeline.failover import Failover
from pipeline.fanout import Fanout
from pipeline.observe import Book, Observe
from pipeline.provider_limits import ProviderLimits
from pipeline.purse import Purse, Treasury
from pipeline.upstream import Upstream
from providers.wire import Transport


def build(
    transports: Mapping[str, Transport], books: Sequence[Book], means: Means, treasury: Treasury, shelf: Shelf
) -> Handler:
    """The whole pipeline as one handler."""
    handler: Handler = Upstream(transports, treasury.ledger)
    handler = Fanout(handler)
    handler = Failover(handler, means, ProviderLimits(treasury))
    handler = Cache(handler, shelf)
    handler = Purse(handler, treasury)
    return Observe(handler, books)
