"""Vectors in Redis or Valkey, shared by all replicas, and searched in a copy that each keeps of a partition.

A partition is a hash: a field for each vector, `n` the number of changes and `e` the epoch, made anew when
something was taken out; and a sorted set of the fields by the change that brought them. A look asks for what
is newer than the copy: for a partition that has not changed that is a round trip with nothing in it. Neither
a search module nor vector sets are needed: docs/decisions says why they are not used.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.redis_client import FAULTS, Client, connect
from pipeline.semantic.matrix import Matrix, unpack
from pipeline.semantic.stores import PARTITION, Found

_PREFIX = "sem:"
# A look brings this many at most, so that it stays within the time of a call; the next brings the rest.
_BATCH = 256
# Of copies in this process.
_COPIES = 64 * 1024 * 1024
# A look lasts half a millisecond; who finds all of them taken waits.
_CONNECTIONS = 8
_CONNECT_SECONDS = 1.0

# KEYS: hash, order. ARGV: epoch and change of the copy. Answers epoch, change, then fields and vectors.
LOOK = f"""
local head = redis.call('HMGET', KEYS[1], 'e', 'n')
if not head[1] then return {{}} end
local from = '-inf'
if head[1] == ARGV[1] then
  if head[2] == ARGV[2] then return head end
  from = '(' .. ARGV[2]
end
local fields = redis.call('ZRANGEBYSCORE', KEYS[2], from, '+inf', 'WITHSCORES', 'LIMIT', 0, {_BATCH})
local answer = {{head[1], head[2]}}
for place = 1, #fields, 2 do
  local vector = redis.call('HGET', KEYS[1], fields[place])
  if vector then
    answer[#answer + 1] = fields[place]
    answer[#answer + 1] = vector
  end
  answer[2] = fields[place + 1]
end
return answer
"""
# KEYS: hash, order. ARGV: field, vector, milliseconds, most.
ADD = """
local clock = redis.call('TIME')
redis.call('HSETNX', KEYS[1], 'e', clock[1] .. '.' .. clock[2])
local change = redis.call('HINCRBY', KEYS[1], 'n', 1)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], change, ARGV[1])
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[4])
if over > 0 then
  local gone = redis.call('ZPOPMIN', KEYS[2], over)
  for place = 1, #gone, 2 do redis.call('HDEL', KEYS[1], gone[place]) end
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
return change
"""
# KEYS: hash, order. ARGV: field.
DROP = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 1 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  if redis.call('ZCARD', KEYS[2]) == 0 then
    redis.call('DEL', KEYS[1], KEYS[2])
  else
    local clock = redis.call('TIME')
    redis.call('HSET', KEYS[1], 'e', clock[1] .. '.' .. clock[2])
  end
end
return 0
"""


@dataclass(slots=True)
class _Copy:
    epoch: bytes
    change: bytes
    matrix: Matrix


class RedisVectors:
    """A store that all replicas share. Raises OSError where Redis is away."""

    def __init__(self, url: str, partition: int = PARTITION, copies: int = _COPIES) -> None:
        # As many again while those are being closed on which something failed.
        self._client: Client = connect(url, 2 * _CONNECTIONS, _CONNECT_SECONDS)
        self._places = asyncio.Semaphore(_CONNECTIONS)
        self._scripts = {text: self._client.register_script(text) for text in (LOOK, ADD, DROP)}
        self._partition = partition
        self._most_bytes = copies
        # Least recently used first.
        self._copies: OrderedDict[str, _Copy] = OrderedDict()
        self.bytes = 0

    async def nearest(self, partition: str, vector: bytes, most: int) -> Sequence[Found]:
        """The nearest of the partition, best first."""
        known = self._copies.get(partition)
        seen = (known.epoch, known.change) if known else (b"", b"")
        answer = await self._run(LOOK, partition, *seen)
        if not answer:
            self._forget(partition)
            return ()
        numbers = unpack(vector)
        copy = self._brought(partition, answer, len(numbers))
        return await copy.matrix.nearest(numbers, most)

    async def add(self, partition: str, found: str, vector: bytes, seconds: float) -> None:
        """Keep a vector for the key `found`."""
        await self._run(ADD, partition, _field(found), vector, max(1, int(seconds * 1000)), self._partition)

    async def drop(self, partition: str, found: str) -> None:
        """Forget the vector of a key."""
        await self._run(DROP, partition, _field(found))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _run(self, what: str, partition: str, *arguments: str | int | bytes) -> list[bytes]:
        # In braces: both keys of a partition are in one place of a cluster.
        name = f"{_PREFIX}{{{partition}}}"
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._places.acquire()
            try:
                answer: Any = await self._scripts[what]([name, f"{name}:o"], arguments)
            finally:
                self._places.release()
        except FAULTS as error:
            # The type alone: a driver's text may name hosts and users.
            raise ConnectionError(type(error).__name__) from None
        return answer if isinstance(answer, list) else []

    def _brought(self, partition: str, answer: list[bytes], dimensions: int) -> _Copy:
        """The copy of a partition, up to date with an answer of LOOK."""
        epoch, change, *rows = answer
        copy = self._copies.get(partition)
        if copy is None or copy.epoch != epoch or copy.matrix.dimensions != dimensions:
            self._forget(partition)
            copy = self._copies[partition] = _Copy(epoch, change, Matrix(dimensions, self._partition))
        else:
            self.bytes -= copy.matrix.bytes
        self._copies.move_to_end(partition)
        copy.change = change
        for field, vector in zip(rows[::2], rows[1::2], strict=True):
            if len(vector) == dimensions * 4:
                copy.matrix.add(field[2:].decode(), unpack(vector))
        self.bytes += copy.matrix.bytes
        while self.bytes > self._most_bytes and len(self._copies) > 1:
            self._forget(next(iter(self._copies)))
        return copy

    def _forget(self, partition: str) -> None:
        copy = self._copies.pop(partition, None)
        if copy is not None:
            self.bytes -= copy.matrix.bytes


def _field(key: str) -> str:
    """Told apart from the hash's own fields."""
    return f"v:{key}"
