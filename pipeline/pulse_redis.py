"""Where processes of several machines leave what they say of themselves for whoever watches: Redis."""

from __future__ import annotations

import hashlib

from pipeline.pulse_boards import FRESH_SECONDS, NOTHING, WATCHED_SECONDS, Heard
from pipeline.redis_link import CONNECT_SECONDS, RedisLink, Step
from pipeline.redis_scripts import Script

_KEY = "llmgw:pulses"
# A hash: process to "moment pulse", and under `w` until when somebody watches, in Redis's milliseconds.
# ARGV: process, its pulse ("" for none), 1 for who watches. The answer: 1 where somebody does, and for who
# watches all pulses that are fresh.
_TEXT = f"""
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
if ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], 'w', now + {int(WATCHED_SECONDS * 1000)})
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
    if at and tonumber(at) + {int(FRESH_SECONDS * 1000)} > now then
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
