"""The Lua scripts of the Redis provider. Redis runs nothing else while it runs one.

Each takes the time from the server, so clocks of nodes do not matter.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DEREGISTER", "READ", "READ_RECORD", "REGISTER", "RENEW", "TRY", "WRITE_RECORD"]

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_DROP_EXPIRED: Final = """
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 100)) do
  redis.call('HDEL', KEYS[1], name)
  redis.call('ZREM', KEYS[2], name)
end
"""

REGISTER: Final = f"""
{_NOW}{_DROP_EXPIRED}
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
return 1
"""
"""KEYS: members, expiry. ARGV: authority, text, milliseconds."""

_IS_OWN: Final = """
local function is_own()
  local ends = redis.call('ZSCORE', KEYS[2], ARGV[1])
  if not ends or tonumber(ends) <= now then return false end
  local read, entry = pcall(cjson.decode, redis.call('HGET', KEYS[1], ARGV[1]))
  return read and type(entry) == 'table' and entry.node_id == ARGV[2]
end
if not is_own() then return 0 end
"""

RENEW: Final = f"""
{_NOW}{_DROP_EXPIRED}{_IS_OWN}
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
return 1
"""
"""KEYS: members, expiry. ARGV: authority, node id, milliseconds. Returns 0 if the entry is not that of the node id."""

DEREGISTER: Final = f"""
{_NOW}{_IS_OWN}
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
"""
"""KEYS: members, expiry. ARGV: authority, node id. Returns 0 if the entry is not that of the node id."""

READ: Final = f"""
{_NOW}
local after = string.format('(%.0f', now)
local limit = tonumber(ARGV[1])
local names, texts = {{}}, {{}}
if redis.call('ZCOUNT', KEYS[2], after, '+inf') > limit or redis.call('HLEN', KEYS[3]) > limit then
  return {{1, names, texts, {{}}}}
end
names = redis.call('ZRANGEBYSCORE', KEYS[2], after, '+inf')
for first = 1, #names, 1000 do
  for _, text in ipairs(redis.call('HMGET', KEYS[1], unpack(names, first, math.min(first + 999, #names)))) do
    texts[#texts + 1] = text or ''
  end
end
return {{0, names, texts, redis.call('HKEYS', KEYS[3])}}
"""
"""KEYS: members, expiry, blocked. ARGV: how many of each at most; the answer begins with 1 if there are more."""

_GUARD: Final = """
local told = ''
for _, section in ipairs({'replication', 'persistence', 'cluster', 'memory'}) do
  told = told .. '\\n' .. redis.call('INFO', section)
end
local function has(line) return string.find(told, '\\n' .. line, 1, true) ~= nil end
local unmet = ''
for number = 4, #ARGV do
  if unmet == '' and not has(ARGV[number] .. '\\r') then unmet = ARGV[number] end
end
if unmet == '' and has('maxmemory_policy:allkeys') and not has('maxmemory:0\\r') then unmet = 'maxmemory_policy' end
"""

READ_RECORD: Final = f"""
{_GUARD}
return {{unmet, redis.call('HGET', KEYS[1], 'version') or '', redis.call('HGET', KEYS[1], 'text') or ''}}
"""
"""KEYS: record. ARGV: three that are not used, then the lines that INFO must have. Returns the first that it lacks."""

WRITE_RECORD: Final = f"""
{_GUARD}
if unmet ~= '' then return {{unmet, 0}} end
local version = redis.call('HGET', KEYS[1], 'version') or ''
if version == ARGV[2] then return {{'', 1}} end
if version ~= ARGV[1] then return {{'', 0}} end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'text', ARGV[3])
return {{'', 1}}
"""
"""KEYS: record. ARGV: expected version, new version, text, then the lines that INFO must have.

Sent again because its answer was lost, it finds its own version, and answers as it did.
"""

TRY: Final = """
for _, key in ipairs({KEYS[1], KEYS[3], KEYS[4]}) do
  redis.call('HSET', key, '?', '')
  redis.call('HDEL', key, '?')
end
redis.call('ZADD', KEYS[2], 0, '?')
redis.call('ZREM', KEYS[2], '?')
return 1
"""
"""Does in one step what the other scripts need the permission for, and takes it back."""
