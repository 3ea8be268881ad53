"""Where processes leave what they say of themselves for whoever watches: a folder that those of one machine
share, or Redis."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import NamedTuple, Protocol

from pipeline.redis_link import CONNECT_SECONDS, RedisLink, Step
from pipeline.redis_scripts import Script

# A watcher says each second that it is there, so after so many it is not.
_WATCHED_SECONDS = 5.0
# A process says something each second, so after so many it is gone.
_FRESH_SECONDS = 5.0
_KEY = "llmgw:pulses"


class Heard(NamedTuple):
    """Whether anybody watches, and what the processes say: only for who watches."""

    watched: bool
    pulses: list[bytes]


NOTHING = Heard(watched=False, pulses=[])


class Board(Protocol):
    """Where it is left. It must not raise."""

    async def exchange(self, process: str, pulse: bytes, *, watching: bool) -> Heard:
        """Leave a pulse (b"": nothing to say) and hear those of all, this one too, where `watching`."""
        ...

    async def aclose(self) -> None: ...


class FolderBoard:
    """A file each, and one whose age tells whether anybody watches. Nothing is written while nobody does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._watched = folder / "watched"

    async def exchange(self, process: str, pulse: bytes, *, watching: bool) -> Heard:
        """Beside the event loop: a disk may be slow."""
        try:
            return await asyncio.to_thread(self._exchange, process, pulse, watching=watching)
        except OSError:
            # A full disk: whoever watches sees that nothing comes.
            return NOTHING

    async def aclose(self) -> None:
        """Nothing is held open."""

    def _exchange(self, process: str, pulse: bytes, *, watching: bool) -> Heard:
        if watching:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._watched.touch(mode=0o600)
        if not _is_fresh(self._watched, _WATCHED_SECONDS):
            return NOTHING
        if pulse:
            self._write(self._folder / f"{process}.pulse", pulse)
        return Heard(watched=True, pulses=self._read() if watching else [])

    def _read(self) -> list[bytes]:
        found = []
        for path in sorted(self._folder.glob("*.pulse")):
            # Its process may end at any moment, and another watcher may take it away.
            with contextlib.suppress(FileNotFoundError):
                if _is_fresh(path, _FRESH_SECONDS):
                    found.append(path.read_bytes())
                else:
                    path.unlink()
        return found

    @staticmethod
    def _write(path: Path, pulse: bytes) -> None:
        beside = path.with_suffix(".new")
        with open(beside, "wb", opener=_private) as file:
            file.write(pulse)
        beside.replace(path)


# A hash: process to "moment pulse", and under `w` until when somebody watches, in Redis's milliseconds.
# ARGV: process, its pulse ("" for none), 1 for who watches. The answer: 1 where somebody does, and for who
# watches all pulses that are fresh.
_TEXT = f"""
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], 'w', now + {int(_WATCHED_SECONDS * 1000)})
end
local ends = redis.call('HGET', KEYS[1], 'w')
if not ends or tonumber(ends) < now then return {{0}} end
if ARGV[2] ~= '' then redis.call('HSET', KEYS[1], ARGV[1], now .. ' ' .. ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], 60000)
local found = {{1}}
if ARGV[3] == '1' then
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    local at, pulse = string.match(all[i + 1], '^(%d+) (.+)$')
    if at and tonumber(at) + {int(_FRESH_SECONDS * 1000)} > now then
      found[#found + 1] = pulse
    elseif all[i] ~= 'w' then
      redis.call('HDEL', KEYS[1], all[i])
    end
  end
end
return found
"""
PULSES = Script(_TEXT, hashlib.sha1(_TEXT.encode(), usedforsecurity=False).hexdigest())


class RedisBoard:
    """One round trip, to one key that is gone a minute after the last watcher."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link

    async def exchange(self, process: str, pulse: bytes, *, watching: bool) -> Heard:
        """Where Redis is away nothing is heard."""
        words = (process, pulse.decode(), 1 if watching else 0)
        answers = await self._link.run([Step(PULSES, (_KEY,), words)], CONNECT_SECONDS)
        answer = answers[0] if answers else None
        if not isinstance(answer, list) or not answer:
            return NOTHING
        return Heard(answer[0] == 1, [one for one in answer[1:] if isinstance(one, bytes)])

    async def aclose(self) -> None:
        """Close the connections."""
        await self._link.aclose()


def _is_fresh(path: Path, seconds: float) -> bool:
    try:
        return time.time() - path.stat().st_mtime < seconds
    except FileNotFoundError:
        return False


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
