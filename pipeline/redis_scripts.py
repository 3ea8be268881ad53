"""What is done within Redis: each script is one step that nobody else's comes between.

Windows are hashes: `s` the sum, `o` and `n` the oldest and newest part that count, and a field for each part.
Leases are sorted sets of calls by when they end. Meters are numbers. A call that was let in has a record, its
moment, until it is settled; the epoch is made anew when Redis has lost everything, which tells a settled call
from a forgotten one. All times are Redis's own, in milliseconds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from pipeline.stores import PARTS


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and the name by which Redis knows it once it has run."""

    text: str = field(repr=False)
    sha: str


def _script(text: str) -> Script:
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


_WINDOWS = f"""
local PARTS = {PARTS}
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- The window's sum and its oldest part, without what has left it.
local function window(key, part)
  local head = redis.call('HMGET', key, 's', 'o', 'n')
  if not head[1] then return 0, part end
  local sum, oldest, newest = tonumber(head[1]), tonumber(head[2]), tonumber(head[3])
  local first = part - PARTS
  if newest > part then
    -- The clock was set back: what was counted counts as of now.
    redis.call('DEL', key)
    redis.call('HSET', key, 's', sum, 'o', part, 'n', part, part, sum)
    return sum, part
  end
  if newest < first then
    redis.call('DEL', key)
    return 0, part
  end
  if oldest < first then
    for old = oldest, first - 1 do
      local gone = redis.call('HGET', key, old)
      if gone then
        sum = sum - tonumber(gone)
        redis.call('HDEL', key, old)
      end
    end
    redis.call('HSET', key, 's', sum, 'o', first)
    oldest = first
  end
  return sum, oldest
end

local function count(key, part, amount, span)
  redis.call('HINCRBY', key, part, amount)
  redis.call('HINCRBY', key, 's', amount)
  redis.call('HSETNX', key, 'o', part)
  redis.call('HSET', key, 'n', part)
  redis.call('PEXPIRE', key, span * 1100)
end
"""

# KEYS: the call's record, the epoch, one for each ask. ARGV: call, milliseconds of a lease, a new epoch,
# seconds of a record, then kind, limit, amount, span and hard of each ask. Answers: 1 let in, 0 refused, -1 a
# meter is unknown, -2 the call was decided before; now; epoch; then used (-1: unknown), wait (-1: for ever)
# and reset of each ask.
DECIDE = _script(
    _WINDOWS
    + """
local epoch = redis.call('GET', KEYS[2])
if not epoch then
  epoch = ARGV[3]
  redis.call('SET', KEYS[2], epoch)
end
local asks, answer, fit, known = {}, {1, now, epoch}, true, true
for i = 3, #KEYS do
  local a = 5 + (i - 3) * 5
  local ask = {key = KEYS[i], kind = ARGV[a], limit = tonumber(ARGV[a + 1]), amount = tonumber(ARGV[a + 2]),
               span = tonumber(ARGV[a + 3]), hard = ARGV[a + 4] == '1'}
  local used, wait, reset = 0, 0, 0
  if ask.kind == 'window' then
    local size = ask.span * 1000 / PARTS
    ask.part = math.floor(now / size)
    local oldest
    used, oldest = window(ask.key, ask.part)
    if used > 0 then
      reset = (tonumber(redis.call('HGET', ask.key, 'n')) + PARTS + 1) * size - now
    end
    if used + ask.amount > ask.limit then
      wait = -1
      local left, room = used, ask.limit - ask.amount
      if room >= 0 then
        for part = oldest, ask.part do
          local amount = redis.call('HGET', ask.key, part)
          if amount then
            left = left - tonumber(amount)
            if left <= room then
              wait = (part + PARTS + 1) * size - now
              break
            end
          end
        end
      end
    end
  elseif ask.kind == 'lease' then
    redis.call('ZREMRANGEBYSCORE', ask.key, '-inf', now)
    used = redis.call('ZCARD', ask.key)
    if used + ask.amount > ask.limit then wait = -1 end
  else
    local found = redis.call('GET', ask.key)
    if found then
      used = tonumber(found)
      if ask.hard and used + ask.amount > ask.limit then wait = -1 end
    else
      used, known = -1, false
    end
  end
  if wait ~= 0 then fit = false end
  asks[#asks + 1] = ask
  answer[#answer + 1] = used
  answer[#answer + 1] = wait
  answer[#answer + 1] = reset
end
if not known then answer[1] = -1 return answer end
if not fit then answer[1] = 0 return answer end
if not redis.call('SET', KEYS[1], now, 'NX', 'EX', ARGV[4]) then answer[1] = -2 return answer end
for i, ask in ipairs(asks) do
  local place = i * 3 + 1
  if ask.kind == 'window' then
    local size = ask.span * 1000 / PARTS
    if ask.amount > 0 then
      count(ask.key, ask.part, ask.amount, ask.span)
      answer[place + 2] = (ask.part + PARTS + 1) * size - now
    end
  elseif ask.kind == 'lease' then
    redis.call('ZADD', ask.key, now + ARGV[2], ARGV[1])
    redis.call('PEXPIRE', ask.key, ARGV[2])
  else
    redis.call('INCRBY', ask.key, ask.amount)
  end
  answer[place] = answer[place] + ask.amount
end
return answer
"""
)

# KEYS: a counter. ARGV: its kind and span. Answers how much of it is used, -1 where a meter is unknown; takes
# nothing of it.
LOOK = _script(
    _WINDOWS
    + """
if ARGV[1] == 'window' then
  local sum = window(KEYS[1], math.floor(now / (tonumber(ARGV[2]) * 1000 / PARTS)))
  return sum
elseif ARGV[1] == 'lease' then
  return redis.call('ZCOUNT', KEYS[1], '(' .. now, '+inf')
end
return tonumber(redis.call('GET', KEYS[1]) or '-1')
"""
)

# KEYS: the call's record, the epoch, a mark that the call is settled, one for each ask. ARGV: call, the epoch
# of the decision ("" where it was made without Redis), 1 to undo a decision of which nobody knows whether it
# was made, seconds of a mark, then kind, reserved, actual and span of each ask. Answers -1, or what a meter
# stands at, for each ask; nothing where it was settled before.
SETTLE = _script(
    _WINDOWS
    + """
local made = tonumber(redis.call('GET', KEYS[1]) or '')
if made then
  redis.call('DEL', KEYS[1])
elseif ARGV[3] == '1' then
  -- It may yet arrive: then it finds this and does nothing.
  redis.call('SET', KEYS[1], 'undone', 'EX', ARGV[4])
  return {}
elseif redis.call('GET', KEYS[2]) == ARGV[2] or not redis.call('SET', KEYS[3], 1, 'NX', 'EX', ARGV[4]) then
  return {}
end
local answer = {}
for i = 4, #KEYS do
  local key, a = KEYS[i], 5 + (i - 4) * 4
  local kind, reserved, actual = ARGV[a], tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local span = tonumber(ARGV[a + 3])
  local more, stands = actual - reserved, -1
  if kind == 'lease' then
    redis.call('ZREM', key, ARGV[1])
  elseif kind == 'meter' then
    -- Without a decision of Redis's own nothing of it has been charged.
    if not made then more = actual end
    if redis.call('EXISTS', key) == 1 then stands = redis.call('INCRBY', key, more) end
  elseif made and more ~= 0 then
    local size = span * 1000 / PARTS
    local part = math.floor(now / size)
    window(key, part)
    if more > 0 then
      count(key, part, more, span)
    else
      local old = math.floor(made / size)
      local counted = tonumber(redis.call('HGET', key, old) or '0')
      if counted > 0 then
        local back = math.max(more, -counted)
        redis.call('HINCRBY', key, old, back)
        redis.call('HINCRBY', key, 's', back)
      end
    end
  end
  answer[#answer + 1] = stands
end
return answer
"""
)

# KEYS: a sorted set. ARGV: milliseconds, then members that live on for so long. Answers how many live, and
# now.
RENEW = _script(
    """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {redis.call('ZCARD', KEYS[1]), now}
"""
)
