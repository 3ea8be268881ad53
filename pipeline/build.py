"""The order of the stages, on one page: the last line is the outermost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.cache import Cache
from pipeline.call import Handler
from pipeline.errand import Means
from pipeline.failover import Failover
from pipeline.fanout import Fanout
from pipeline.observe import Book, Observe
from pipeline.provider_limits import ProviderLimits
from pipeline.purse import Purse, Treasury
from pipeline.semantic.stage import Answers, SemanticCache
from pipeline.upstream import Upstream
from providers.wire import Transport


def build(
    transports: Mapping[str, Transport],
    books: Sequence[Book],
    means: Means,
    treasury: Treasury,
    answers: Answers,
) -> Handler:
    """The whole pipeline as one handler."""
    handler: Handler = Upstream(transports, treasury.ledger)
    handler = Fanout(handler)
    handler = Failover(handler, means, ProviderLimits(treasury))
    handler = SemanticCache(handler, answers)
    handler = Cache(handler, answers.shelf)
    handler = Purse(handler, treasury)
    handler = Observe(handler, books)
    answers.embedders.route_through(handler)
    return handler
