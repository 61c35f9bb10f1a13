"""The Lua scripts of `RedisStorage`: each is one conditional operation.

Redis runs nothing else while a script runs, so a comparison and the change that depends on it are one step. A script
that changes data makes the change that can be refused first: after an error nothing has changed.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

import msgspec

__all__ = ["LOG_APPEND", "LOG_OPEN", "LOG_READ", "LOG_TRIM", "SCRIPTS", "WRITE", "Script"]


class Script(msgspec.Struct, frozen=True):
    """A script and the name under which a server knows it.

    Attributes:
        text: in Lua.
        digest: of the text, for EVALSHA.
    """

    text: str
    digest: str


def _script(*parts: str) -> Script:
    text = "".join(parts)
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


_BELOW: Final = """
local function below(one, other)
  return #one < #other or (#one == #other and one < other)
end
"""
"""Compares decimal texts: numbers in Lua are doubles, exact up to 2**53 only."""

WRITE: Final = _script(
    _BELOW,
    """
local expected, epoch, version, seen, floor, id = string.match(ARGV[1], '(%d+) (%d+) (%d+) (%w*) (%d+) (%w*)')
local stored = redis.call('HMGET', KEYS[1], 'version', 'epoch')
local stored_version, stored_epoch = stored[1] or '0', stored[2] or '0'
local instance, commits, marks = '', '0', KEYS[2]
if marks then
  local mark = redis.call('HMGET', KEYS[2], 'instance', 'commits')
  instance, commits = mark[1] or '', mark[2] or '0'
  if seen ~= '' and (instance ~= seen or below(commits, floor)) then
    if instance ~= '' or stored_version == '0' then return {-1, instance, commits} end
    marks = nil
  end
end
if below(epoch, stored_epoch) or stored_version ~= expected then
  return {0, instance, commits, stored_version, stored_epoch}
end
if ARGV[2] then
  redis.call('HSET', KEYS[1], 'version', version, 'epoch', epoch, 'data', ARGV[2])
else
  redis.call('HSET', KEYS[1], 'version', version, 'epoch', epoch)
  redis.call('HDEL', KEYS[1], 'data')
end
if not marks then return 0 end
if instance == '' then redis.call('HSET', KEYS[2], 'instance', id) end
commits = redis.call('HINCRBY', KEYS[2], 'commits', 1)
if instance == seen and seen ~= '' then return commits end
return {1, instance ~= '' and instance or id, commits}
""",
)
"""KEYS: the record, and the mark of the part of the storage where it is (none while keys of the slot move).

ARGV: expected version, epoch, new version, instance and commits that were seen (empty and 0: none), an id for the mark
if there is none, all in one text; data (absent: a tombstone).

If there is a record and no mark, the records of a slot were moved without it: a loss removes both. Nothing is changed
then.

Returns the commits of the mark that was seen, or 0 when it was not checked: the write was done. Else the result (1
done, 0 a conflict, -1 another or an older storage) and the mark, empty if the storage has none; of a conflict also the
stored version and epoch; the version is 0 if there is no record.
"""

_LOG: Final = """
local seen, floor, id, epoch = string.match(ARGV[1], '(%w*) (%d+) (%w*) (%d+)')
local stored = redis.call('HMGET', KEYS[1], 'first', 'end', 'epoch', 'appended', 'removed', 'opener', 'opening')
local exists = stored[2]
for field = 1, 5 do stored[field] = stored[field] or '0' end
local instance, commits, marks = '', '0', KEYS[3]
if marks then
  local mark = redis.call('HMGET', KEYS[3], 'instance', 'commits')
  instance, commits = mark[1] or '', mark[2] or '0'
  if seen ~= '' and (instance ~= seen or below(commits, floor)) then
    if instance ~= '' or not exists then return {-1, instance, commits} end
    marks = nil
  end
end
local function answer(outcome, chunks)
  return {outcome, instance, commits, stored[1], stored[2], stored[3], stored[4], stored[5], chunks}
end
local function commit()
  if not marks then return end
  if instance == '' then
    instance = id
    redis.call('HSET', KEYS[3], 'instance', id)
  end
  commits = redis.call('HINCRBY', KEYS[3], 'commits', 1)
end
local function whole(number)
  return string.format('%.0f', number)
end
"""
"""The first part of all scripts of logs.

KEYS: the hash with the bounds of the log, the stream with its chunks, and the mark of the part of the storage where
they are (none while keys of the slot move, see `WRITE`).

ARGV[1]: instance and commits that were seen (empty and 0: none), an id for the mark if there is none, and the epoch of
the keeper, in one text.

Each returns the result (1 done, 0 a conflict, -1 another or an older storage), the mark (empty if the storage has
none or it was not compared), and the bounds: first, end, epoch, and the bytes that were appended before `end` and
before the first chunk that is left.

The id of a chunk in the stream is the offset of its first record, and the number of its records.
"""

LOG_OPEN: Final = _script(
    _BELOW,
    _LOG,
    """
if below(epoch, stored[3]) then return answer(0) end
if stored[6] == ARGV[2] and below(ARGV[3], stored[7]) then return answer(0) end
redis.call('HSET', KEYS[1], 'first', stored[1], 'end', stored[2], 'epoch', epoch, 'opener', ARGV[2], 'opening', ARGV[3])
stored[3] = epoch
commit()
return answer(1)
""",
)
"""ARGV: who opens, and the number of this opening, see `Openings`."""

LOG_APPEND: Final = _script(
    _BELOW,
    _LOG,
    """
if epoch ~= stored[3] or ARGV[2] ~= stored[2] then return answer(0) end
if stored[6] == ARGV[6] and stored[7] ~= ARGV[7] and ARGV[7] ~= '0' then return answer(0) end
redis.call('XADD', KEYS[2], ARGV[2] .. '-' .. ARGV[3], 'before', stored[4], 'records', ARGV[5])
redis.call('HSET', KEYS[1], 'end', ARGV[4], 'appended', whole(stored[4] + #ARGV[5]))
commit()
return answer(1)
""",
)
"""ARGV: offset, number of records, offset after them, the chunk, who has opened the log, and the opening's number."""

LOG_READ: Final = _script(
    _BELOW,
    _LOG,
    """
local offset, left, room = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local chunks = {}
if below(offset, stored[1]) or not below(offset, stored[2]) then return answer(1, chunks) end
local found = redis.call('XREVRANGE', KEYS[2], offset, '-', 'COUNT', 1)
while #found > 0 do
  for _, entry in ipairs(found) do
    local first, count = string.match(entry[1], '(%d+)-(%d+)')
    chunks[#chunks + 1] = first
    chunks[#chunks + 1] = entry[2][4]
    if #chunks > 2 then room = room - #entry[2][4] end
    left = left - (first + count - math.max(first, offset))
    if left <= 0 or room <= 0 then return answer(1, chunks) end
    offset = whole(first + count)
  end
  found = redis.call('XRANGE', KEYS[2], offset, '+', 'COUNT', 1)
end
return answer(1, chunks)
""",
)
"""ARGV: offset, records and bytes at most. It also returns chunks, each after its first offset: enough for a read.

How much of the first chunk is wanted is not known here, so its bytes do not count.
"""

LOG_TRIM: Final = _script(
    _BELOW,
    _LOG,
    """
if epoch ~= stored[3] then return answer(0) end
local upto = ARGV[2]
if below(stored[2], upto) then upto = stored[2] end
if not below(stored[1], upto) then return answer(1) end
local keep, removed = upto, stored[4]
if upto ~= stored[2] then
  local entry = redis.call('XREVRANGE', KEYS[2], upto, '-', 'COUNT', 1)[1]
  if entry then keep, removed = entry[1], entry[2][2] end
end
redis.call('XTRIM', KEYS[2], 'MINID', keep)
redis.call('HSET', KEYS[1], 'first', upto, 'removed', removed)
commit()
return answer(1)
""",
)
"""ARGV: the offset up to which records are removed. The chunk in which it is stays."""

SCRIPTS: Final = {each.digest: each.text for each in (WRITE, LOG_OPEN, LOG_APPEND, LOG_READ, LOG_TRIM)}
"""By digest."""
