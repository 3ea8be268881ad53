"""What the cache has done within Redis: each script is one step, so that a team's index and sum stay true.

A team's answers are strings of their own, each with its end. Its index is a sorted set of them by when they
end, in milliseconds of Redis's clock; a member is the name of an answer and its size. Its sum is a number.
"""

from __future__ import annotations

_TEAM = """
local index, sum, prefix = KEYS[1], KEYS[2], ARGV[1]
local overhead = tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- Takes an answer out of the index and the sum.
local function forget(member)
  local name, size = string.match(member, '^(.*):(%d+)$')
  if redis.call('ZREM', index, member) == 1 then redis.call('DECRBY', sum, size) end
  return name
end

-- Deletes an answer; 1 where there was one.
local function drop(name)
  local size = redis.call('STRLEN', prefix .. name)
  if size == 0 then return 0 end
  forget(name .. ':' .. string.format('%d', size + overhead))
  return redis.call('UNLINK', prefix .. name)
end
"""

# Arguments: prefix, overhead, the team's quota in bytes; and for each answer its name, milliseconds, value.
# Answers how many have no room.
PUT = (
    _TEAM
    + """
local quota = tonumber(ARGV[3])
local refused = 0
for _, member in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', now, 'LIMIT', 0, 100)) do
  forget(member)
end
-- An index that was evicted takes its sum with it.
if redis.call('EXISTS', index) == 0 then redis.call('SET', sum, 0) end
for at = 4, #ARGV, 3 do
  local name, ttl, value = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local size = #value + overhead
  drop(name)
  local used = tonumber(redis.call('GET', sum) or 0)
  while used + size > quota do
    local oldest = redis.call('ZRANGE', index, 0, 0)[1]
    if not oldest then break end
    redis.call('UNLINK', prefix .. forget(oldest))
    used = tonumber(redis.call('GET', sum) or 0)
  end
  if used + size <= quota then
    redis.call('SET', prefix .. name, value, 'PX', ttl)
    redis.call('ZADD', index, now + ttl, name .. ':' .. string.format('%d', size))
    redis.call('INCRBY', sum, size)
    for _, key in ipairs({index, sum}) do
      if redis.call('PTTL', key) < ttl then redis.call('PEXPIRE', key, ttl) end
    end
  else
    refused = refused + 1
  end
end
return refused
"""
)

# Arguments: prefix, overhead, and names. Answers how many of them were there.
DROP = (
    _TEAM
    + """
local gone = 0
for at = 3, #ARGV do gone = gone + drop(ARGV[at]) end
return gone
"""
)

# Arguments: prefix, overhead. Answers how many answers the team has, and their sum.
STOCK = (
    _TEAM
    + """
return {redis.call('ZCOUNT', index, now, '+inf'), tonumber(redis.call('GET', sum) or 0)}
"""
)
