"""The order of the stages, on one page: the last line is the outermost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accounts.capture.setting import NOBODY, Captures
from pipeline.cache import Cache
from pipeline.call import Handler
from pipeline.capture import Capture
from pipeline.errand import Means
from pipeline.failover import Failover
from pipeline.fanout import Fanout
from pipeline.keeper import Keeper
from pipeline.observe import Book, Observe
from pipeline.provider_limits import ProviderLimits
from pipeline.purse import Purse, Treasury
from pipeline.semantic.stage import Answers, SemanticCache
from pipeline.upstream import Upstream
from providers.wire import SocketTransport, Transport
from routing.ownership import Ownership


@dataclass(frozen=True, slots=True)
class Keeps:
    """What outlives a call: answers that are given again, who owns which file, and what is captured."""

    answers: Answers
    ownership: Ownership
    captures: Captures = NOBODY


@dataclass(frozen=True, slots=True)
class Wires:
    """How providers are reached. `sockets` None: there are no WebSockets to them."""

    transports: Mapping[str, Transport]
    sockets: SocketTransport | None = None


def build(wires: Wires, books: Sequence[Book], means: Means, treasury: Treasury, keeps: Keeps) -> Handler:
    """The whole pipeline as one handler."""
    limits = ProviderLimits(treasury)
    asks: Handler = Upstream(wires.transports, treasury.ledger, wires.sockets)
    handler: Handler = Fanout(asks)
    handler = Failover(handler, means, limits)
    handler = SemanticCache(handler, keeps.answers)
    handler = Cache(handler, keeps.answers.shelf)
    handler = Keeper(handler, asks, (means, limits), keeps.ownership)
    handler = Purse(handler, treasury)
    handler = Observe(handler, books)
    keeps.answers.embedders.route_through(handler)
    # Only now: what the gateway embeds for itself is nobody's call.
    return Capture(handler, keeps.captures)
