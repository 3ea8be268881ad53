"""Breakers known to all replicas: what one finds out, the others need not find out again. Through Redis."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from pipeline.live import LiveState
from pipeline.redis_link import CONNECT_SECONDS, RedisLink, Step
from pipeline.redis_scripts import Script
from pipeline.repeating import Repeating
from pipeline.slots import Place

# How long others go on asking a target that one replica has given up. Asking Redis more often would cost
# more than the few attempts that it saves.
INTERVAL = 0.5
_KEY = "llmgw:breakers"

# A hash: place to "until openings", in Redis's milliseconds. ARGV: threes of place, milliseconds that it is
# still open (0: closed), and how many times in a row it has opened. The answer: the place, the milliseconds
# that are left, and the openings, of each that is open.
_TEXT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for i = 1, #ARGV, 3 do
  local left = tonumber(ARGV[i + 1])
  if left > 0 then
    redis.call('HSET', KEYS[1], ARGV[i], (now + left) .. ' ' .. ARGV[i + 2])
  else
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
local all = redis.call('HGETALL', KEYS[1])
local open = {}
for i = 1, #all, 2 do
  local ends, times = string.match(all[i + 1], '^(%d+) (%d+)$')
  if ends and tonumber(ends) > now then
    open[#open + 1] = all[i]
    open[#open + 1] = tonumber(ends) - now
    open[#open + 1] = tonumber(times)
  else
    redis.call('HDEL', KEYS[1], all[i])
  end
end
return open
"""
SHARE = Script(_TEXT, hashlib.sha1(_TEXT.encode(), usedforsecurity=False).hexdigest())


class BreakerShare:
    """Says what the breakers here have done and hears what those of other replicas did, twice a second.

    While Redis is away each replica goes by what it sees itself. A replica that hears of an opening leaves
    the target alone as long as the one that opened it; it finds out by itself, with one probe, when it is
    back.
    """

    def __init__(self, live: LiveState, link: RedisLink, interval: float = INTERVAL) -> None:
        self._live = live
        self._link = link
        # What was said last of each place: openings, 0 for closed.
        self._said: dict[Place, int] = {}
        self._repeating = Repeating("sharing breakers", self.exchange, interval)

    def start(self) -> None:
        """Begin on the running loop."""
        self._repeating.start()

    async def stop(self) -> None:
        """End it and close the connections."""
        await self._repeating.stop()
        await self._link.aclose()

    async def exchange(self) -> None:
        """Say and hear once. Nothing is raised because of Redis."""
        news = list(self._news())
        words = [word for place, left, times in news for word in (_word(place), left, times)]
        answers = await self._link.run([Step(SHARE, (_KEY,), words)], CONNECT_SECONDS)
        if answers is None:
            return
        self._said.update((place, times) for place, _, times in news)
        heard = answers[0]
        if isinstance(heard, list):
            self._hear(heard)

    def _news(self) -> Iterable[tuple[Place, int, int]]:
        """What has changed here: place, milliseconds it is still open, openings."""
        now = self._live.clock()
        for place, breaker in self._live.breakers().items():
            times = breaker.opened if breaker.state != "closed" else 0
            if times == self._said.get(place, 0):
                continue
            left = int(breaker.wait(now) * 1000) if breaker.state == "open" else 0
            if breaker.state != "half_open":
                yield place, left, times if left else 0

    def _hear(self, words: list[object]) -> None:
        now = self._live.clock()
        for said, left, times in zip(words[::3], words[1::3], words[2::3], strict=True):
            place = _place(said)
            if place is None or not isinstance(left, int) or not isinstance(times, int):
                continue
            if times > self._said.get(place, 0):
                self._said[place] = times
                self._live.opened_elsewhere(place, now + left / 1000, times)


def _word(place: Place) -> str:
    return json.dumps(place)


def _place(word: object) -> Place | None:
    """The place that a replica named; None for anything else that is in Redis."""
    try:
        provider, model = json.loads(word)  # type: ignore[arg-type]  # whatever it is: refused below
    except (ValueError, TypeError):
        return None
    return (provider, model) if isinstance(provider, str) and isinstance(model, str) else None
