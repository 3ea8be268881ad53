"""Several Valkey servers that stand together: a master with a replica and three Sentinels, or a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, Self

import pytest
import redis
from typing_extensions import override

from tests.support.services import RedisServer, ServiceError, free_port

# A takeover on a busy machine: a second until the Sentinels miss the master, and their vote.
PATIENCE = 60.0
MASTER = "gateway"
_SLOTS = 16384
# The forms that a Redis may have, as parameters of a fixture, and the fixtures of their URLs.
FORMS = {"redis": "redis_url", "sentinel": "sentinel_url", "cluster": "cluster_url"}
EACH_FORM = [pytest.param(form, marks=pytest.mark.valkey) for form in FORMS]


class Sentinel(RedisServer):
    """A Sentinel, which watches one master."""

    name = "sentinel"

    def __init__(self, master: int) -> None:
        super().__init__()
        lines = (
            f"port {self.port}",
            "bind 127.0.0.1",
            f"sentinel monitor {MASTER} 127.0.0.1 {master} 2",
            # Shorter, and a machine that is busy would be taken for a server that is gone.
            f"sentinel down-after-milliseconds {MASTER} 1000",
            f"sentinel failover-timeout {MASTER} 3000",
        )
        (self.directory / "sentinel.conf").write_text("\n".join(lines) + "\n")

    @override
    def _command(self) -> list[str]:
        return [str(self._binary), str(self.directory / "sentinel.conf"), "--sentinel"]


class SentinelSet:
    """A master, a replica of it and three Sentinels."""

    def __init__(self) -> None:
        self.servers = [RedisServer()]
        first = self.servers[0].port
        self.servers.append(RedisServer(["--replicaof", f"127.0.0.1 {first}"]))
        self.sentinels = [Sentinel(first) for _ in range(3)]

    @property
    def url(self) -> str:
        places = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{places}/{MASTER}/0"

    def start(self) -> Self:
        """Start all, and wait until each Sentinel knows of the replica and of the other Sentinels."""
        for server in (*self.servers, *self.sentinels):
            server.start()
        for sentinel in self.sentinels:
            with _client(sentinel.port) as client:
                wait(partial(_complete, client), "the Sentinels know each other")
        return self

    def master(self) -> RedisServer:
        """What the Sentinels say is the master."""
        with _client(self.sentinels[0].port) as client:
            port = int(client.sentinel_get_master_addr_by_name(MASTER)[1])
        return next(server for server in self.servers if server.port == port)

    def taken_over(self, old: RedisServer) -> bool:
        """True when another than this is the master, and takes writes."""
        now = self.master()
        if now is old:
            return False
        with _client(now.port) as client:
            return bool(client.role()[0] == "master")

    def close(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.close()


class ClusterSet:
    """Three masters that share the slots. They keep their data over a kill."""

    def __init__(self) -> None:
        self._buses = [free_port() for _ in range(3)]
        self.servers = [RedisServer(_cluster_options(bus)) for bus in self._buses]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.servers)}"

    def start(self) -> Self:
        """Start all, share out the slots, and wait until each says that the cluster is whole."""
        for server in self.servers:
            server.start()
        for place, server in enumerate(self.servers):
            first, last = (_SLOTS * (place + after) // len(self.servers) for after in (0, 1))
            with _client(server.port) as client:
                client.cluster("ADDSLOTSRANGE", first, last - 1)
            if place:
                self._meet(server)
        self.whole()
        return self

    def add_replica(self, of: RedisServer) -> None:
        """Add a server that takes over from this one, and wait until it has all that is there."""
        bus = free_port()
        replica = RedisServer(_cluster_options(bus)).start()
        self.servers.append(replica)
        self._buses.append(bus)
        self._meet(replica)
        self.whole()
        with _client(of.port) as master, _client(replica.port) as client:
            name = master.cluster("MYID")
            wait(lambda: bool(client.cluster("REPLICATE", name)), "it knows its master")
            wait(lambda: client.info("replication")["master_link_status"] == "up", "it follows")

    def _meet(self, server: RedisServer) -> None:
        with _client(server.port) as client:
            client.cluster("MEET", "127.0.0.1", self.servers[0].port, self._buses[0])

    def whole(self) -> None:
        """Wait until every node says so."""
        for server in self.servers:
            with _client(server.port) as client:
                wait(partial(_is_whole, client, len(self.servers)), "the cluster is whole")

    def owner(self, key: str) -> RedisServer:
        """Where a key lies."""
        with _client(self.servers[0].port) as client:
            slot = client.cluster("KEYSLOT", key)
            (port,) = (
                master[1]
                for first, last, master, *_ in client.execute_command("CLUSTER", "SLOTS")
                if first <= slot <= last
            )
        return next(server for server in self.servers if server.port == port)

    def move(self, key: str) -> None:
        """Give the slot of a key, with all that is in it, to another node."""
        old = self.owner(key)
        new = next(server for server in self.servers if server is not old)
        with _client(old.port) as source, _client(new.port) as target:
            slot = source.cluster("KEYSLOT", key)
            names = [each.cluster("MYID") for each in (source, target)]
            target.cluster("SETSLOT", slot, "IMPORTING", names[0])
            source.cluster("SETSLOT", slot, "MIGRATING", names[1])
            for name in source.cluster("GETKEYSINSLOT", slot, 10_000):
                source.migrate("127.0.0.1", new.port, name, 0, 10_000)
            for each in (target, source):
                each.cluster("SETSLOT", slot, "NODE", names[1])

    def close(self) -> None:
        for server in self.servers:
            server.close()


def wait(condition: Callable[[], bool], what: str) -> None:
    """Wait until it holds; a server that does not answer has not yet done it."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if condition():
                return
        except (redis.RedisError, OSError):
            pass
        if time.monotonic() > end:
            raise ServiceError(f"it did not come about that {what}")
        time.sleep(0.02)


def _client(port: int) -> Any:
    """Without the library's types, which say of most answers that they may be anything."""
    return redis.Redis(port=port, decode_responses=True, socket_timeout=5, protocol=2)


def _complete(client: Any) -> bool:
    state = client.sentinel_master(MASTER)
    return bool(state["num-slaves"] == 1 and state["num-other-sentinels"] == 2)


def _is_whole(client: Any, nodes: int) -> bool:
    said = client.cluster("INFO")
    return bool(said["cluster_state"] == "ok" and int(said["cluster_known_nodes"]) == nodes)


def _cluster_options(bus: int) -> list[str]:
    return [
        "--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "2000",
        "--appendonly", "yes", "--appendfsync", "always",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    """The URL of a cluster shared by the session."""
    with closing(ClusterSet()) as cluster:
        yield cluster.start().url


@pytest.fixture
def fresh_cluster() -> Iterator[ClusterSet]:
    """A cluster of one test's own."""
    with closing(ClusterSet()) as cluster:
        yield cluster.start()


@pytest.fixture(scope="session")
def sentinel_url() -> Iterator[str]:
    """The URL of a master behind Sentinels, shared by the session."""
    with closing(SentinelSet()) as servers:
        yield servers.start().url


@pytest.fixture
def fresh_sentinels() -> Iterator[SentinelSet]:
    """A master behind Sentinels, of one test's own."""
    with closing(SentinelSet()) as servers:
        yield servers.start()
