"""Connects to Redis, whichever form it has: one server, a master behind Sentinels, a cluster.

A client behaves alike in each form, but for what is here: a cluster is looked through node by node, and what
it knows of its nodes is learned anew after an outage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, cast

import redis as blocking
from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode as BlockingNode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from typing_extensions import override

from pipeline.redis_address import RedisAddress, read_address

Client = Redis | RedisCluster
Scan = Callable[[int, str, int], Awaitable[tuple[int, list[bytes]]]]

# Without types in the library.
_SENTINELS: Any = Sentinel
_POOL: Any = SentinelConnectionPool
_BLOCKING_SENTINELS: Any = blocking.Sentinel
_BLOCKING_NODE: Any = BlockingNode

# All that a client raises because of Redis or the way to it. The library's own for a cluster is none of its
# RedisErrors.
FAULTS = (RedisError, RedisClusterException, OSError, TimeoutError)
# A Sentinel that does not answer must leave time for the next: three of them fit into a second.
SENTINEL_SECONDS = 0.25


def connect(url: str, connections: int, seconds: float) -> Client:
    """A client that never tries again by itself. `connections`: at most, to each server. `seconds`: after
    which the library gives up; who waits has a clock of his own."""
    address = read_address(url)
    options: dict[str, Any] = {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "max_connections": connections,
        # Older servers and replacements know it too, and it needs no greeting.
        "protocol": 2,
        "driver_info": None,
    }
    if address.form == "single":
        single: Redis = Redis.from_url(address.url, **options)
        return single
    if address.form == "sentinel":
        return _Followed(address, options)
    return _Cluster(address, options)


class _Followed(Redis):
    """The server that is the master now: Sentinels are asked whenever a connection is made."""

    def __init__(self, address: RedisAddress, options: dict[str, Any]) -> None:
        ours = {**options, "socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS}
        ours |= address.sentinel_options
        self._sentinels = _SENTINELS(address.nodes, sentinel_kwargs=ours)
        pool = _POOL(address.master, self._sentinels, **options | dict(address.options))
        super().__init__(connection_pool=pool)
        self.auto_close_connection_pool = True

    @override
    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        await self._sentinels.aclose()


class _Cluster(RedisCluster):
    """A cluster whose nodes are learned once for all who wait: one that leaves does not begin it anew."""

    def __init__(self, address: RedisAddress, options: dict[str, Any]) -> None:
        super().__init__(
            startup_nodes=[ClusterNode(host, port) for host, port in address.nodes],
            # The addresses that were given outlive those of the nodes, which may all have changed.
            dynamic_startup_nodes=False,
            # A slot that has moved is learned by itself: to close all connections would disturb other calls.
            reinitialize_steps=0,
            **options | dict(address.options),
        )
        self._learning: asyncio.Task[Any] | None = None

    @override
    async def initialize(self, *about: Any, **more: Any) -> RedisCluster:
        if self._initialize:
            learning = self._learning
            if learning is None or learning.done():
                learning = self._learning = asyncio.create_task(super().initialize(*about, **more))
                # Where nobody waits any more, nobody needs to hear of it.
                learning.add_done_callback(lambda task: task.cancelled() or task.exception())
            await asyncio.wait({learning})
            if learning.cancelled():
                # By `aclose`: whoever waited is not cancelled with it.
                raise RedisConnectionError("the client was closed")
            learning.result()
        return self

    @override
    async def aclose(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        await super().aclose()


async def renew(client: Client) -> None:
    """After an outage: where the nodes are now, and that each is there. Raises FAULTS."""
    if isinstance(client, RedisCluster):
        await client.aclose()
        await client.initialize()
        await client.ping(target_nodes=RedisCluster.PRIMARIES)


async def warm(client: Client, connections: int) -> None:
    """Make so many connections to each server that is written to. Raises FAULTS."""
    await renew(client)
    of = {"target_nodes": RedisCluster.PRIMARIES} if isinstance(client, RedisCluster) else {}
    await asyncio.gather(*(client.ping(**of) for _ in range(connections)))


async def fetch(client: Client, names: Sequence[str]) -> list[Any]:
    """The values of these names, wherever they lie. Raises FAULTS."""
    if isinstance(client, RedisCluster):
        return list(await client.mget_nonatomic(names))
    return list(await client.mget(names))


def scanners(client: Client) -> list[Scan]:
    """One for each server that is written to: by cursor, pattern and step, the next cursor and names."""
    if isinstance(client, RedisCluster):
        return [partial(_scan_node, client, node) for node in client.get_primaries()]
    return [cast(Scan, client.scan)]


async def _scan_node(
    client: RedisCluster, node: ClusterNode, cursor: int, pattern: str, step: int
) -> tuple[int, list[bytes]]:
    # Of a cluster the library answers a cursor for each node.
    cursors, names = cast(
        tuple[dict[str, int], list[bytes]], await client.scan(cursor, pattern, step, target_nodes=node)
    )
    return cursors[node.name], names


def connect_blocking(url: str, seconds: float) -> blocking.Redis | blocking.RedisCluster:
    """For commands, which have no loop. Raises FAULTS, where a cluster is away at once."""
    address = read_address(url)
    options: dict[str, Any] = {"socket_timeout": seconds, "socket_connect_timeout": seconds, "protocol": 2}
    options |= address.options
    if address.form == "single":
        return blocking.Redis.from_url(address.url, **options)
    if address.form == "cluster":
        nodes = [_BLOCKING_NODE(host, port) for host, port in address.nodes]
        return blocking.RedisCluster(startup_nodes=nodes, **options)
    ours = {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS, "protocol": 2}
    sentinels = _BLOCKING_SENTINELS(address.nodes, sentinel_kwargs={**ours, **address.sentinel_options})
    master: blocking.Redis = sentinels.master_for(address.master, **options)
    return master
