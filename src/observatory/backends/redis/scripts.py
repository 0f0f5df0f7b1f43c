"""What runs inside Redis. A script is one atomic step, whoever else is there.

The keys, behind a prefix whose hash tag keeps them on one node of a cluster:

- ``current``: a hash of the generation that is shown, and while it is complete, the log's epoch
  and the offset up to which it is applied.
- ``<generation>:states``: [type, queue, state] → jobs.
- ``<generation>:0``: [type, queue, measure, bin] → lifetime total.
- ``<generation>:<resolution>:<bucket>``: the same in one bucket; ``<generation>:<resolution>`` is
  the sorted set of the buckets, and ``<generation>:<resolution>:changed`` orders them by the log's
  offset at which they changed last.
- ``<generation>:numbers``: publisher → its last number; ``<generation>:seen`` is when that came.
- ``<generation>:parts``: the parts of a generation that is being written.

Names come in as values and are used as fields, never as part of a script or of a key.
"""

from typing import Final

_NUMBERS: Final = """
local function keep_numbers(base, rows)
    local now = redis.call('TIME')[1]
    for _, row in ipairs(rows) do
        redis.call('HSET', base .. 'numbers', row[1], row[2])
        redis.call('ZADD', base .. 'seen', now, row[1])
    end
end
"""

APPLY: Final = (
    _NUMBERS
    + """
local prefix = KEYS[1]
local current = redis.call('HMGET', prefix .. 'current', 'generation', 'epoch', 'offset')
if not current[1] or current[2] ~= ARGV[2] or current[3] ~= ARGV[1] then
    return 0
end
local base = prefix .. current[1] .. ':'
local sums = cjson.decode(ARGV[4])
for _, row in ipairs(sums.states) do
    if redis.call('HINCRBY', base .. 'states', row[1], row[2]) == 0 then
        redis.call('HDEL', base .. 'states', row[1])
    end
end
for _, row in ipairs(sums.totals) do
    redis.call('HINCRBY', base .. '0', row[1], row[2])
end
for _, bucket in ipairs(sums.buckets) do
    local index = base .. bucket[1]
    local key = index .. ':' .. bucket[2]
    for _, row in ipairs(bucket[4]) do
        redis.call('HINCRBY', key, row[1], row[2])
    end
    redis.call('EXPIRE', key, bucket[3])
    redis.call('ZADD', index, bucket[2], bucket[2])
    redis.call('ZADD', index .. ':changed', ARGV[3], bucket[2])
end
keep_numbers(base, sums.numbers)
redis.call('HSET', prefix .. 'current', 'offset', ARGV[3])
return 1
"""
)
"""Adds sums if the position is the expected one. ARGV: expected offset, epoch, new offset, sums."""

FILL: Final = (
    _NUMBERS
    + """
local base = KEYS[1] .. ARGV[1] .. ':'
local sums = cjson.decode(ARGV[3])
local function put(key, rows)
    for _, row in ipairs(rows) do
        redis.call('HSET', key, row[1], row[2])
    end
    redis.call('EXPIRE', key, ARGV[2])
end
put(base .. 'states', sums.states)
put(base .. '0', sums.totals)
for _, bucket in ipairs(sums.buckets) do
    local index = base .. bucket[1]
    put(index .. ':' .. bucket[2], bucket[4])
    redis.call('EXPIRE', index .. ':' .. bucket[2], bucket[3])
    redis.call('ZADD', index, bucket[2], bucket[2])
    redis.call('EXPIRE', index, ARGV[2])
end
keep_numbers(base, sums.numbers)
redis.call('EXPIRE', base .. 'numbers', ARGV[2])
redis.call('EXPIRE', base .. 'seen', ARGV[2])
redis.call('SADD', base .. 'parts', ARGV[4])
redis.call('EXPIRE', base .. 'parts', ARGV[2])
return 1
"""
)
"""Writes a part of a generation that nobody sees yet, and that goes by itself should it never be
shown. Sets, so that it may come twice. ARGV: generation, seconds it is kept, sums, number of the
part."""

_DROP: Final = """
local function drop(base, widths)
    for _, width in ipairs(widths) do
        for _, bucket in ipairs(redis.call('ZRANGE', base .. width, 0, -1)) do
            redis.call('UNLINK', base .. width .. ':' .. bucket)
        end
        redis.call('UNLINK', base .. width, base .. width .. ':changed')
    end
    redis.call('UNLINK', base .. 'states', base .. '0', base .. 'numbers', base .. 'seen')
end
"""

SHOW: Final = (
    _DROP
    + """
local prefix = KEYS[1]
local widths = cjson.decode(ARGV[4])
local old = redis.call('HGET', prefix .. 'current', 'generation')
local base = prefix .. ARGV[1] .. ':'
if old ~= ARGV[1] and redis.call('SCARD', base .. 'parts') ~= tonumber(ARGV[5]) then
    return 0
end
redis.call('UNLINK', base .. 'parts')
for _, name in ipairs({'states', '0', 'numbers', 'seen'}) do
    redis.call('PERSIST', base .. name)
end
for _, width in ipairs(widths) do
    redis.call('PERSIST', base .. width)
end
redis.call('HSET', prefix .. 'current',
    'generation', ARGV[1], 'epoch', ARGV[2], 'offset', ARGV[3])
if old and old ~= ARGV[1] then
    drop(prefix .. old .. ':', widths)
end
return 1
"""
)
"""Shows a generation in place of the one before, unless Redis has lost a part of it since. ARGV:
generation, epoch, offset, widths, how many parts it has."""

POSITION: Final = """
local current = redis.call('HMGET', KEYS[1] .. 'current', 'generation', 'epoch', 'offset')
if not current[1] or not current[2] then
    return false
end
return {current[2], current[3],
    redis.call('HGETALL', KEYS[1] .. current[1] .. ':numbers')}
"""
"""Epoch, offset and numbers, or nil."""

STATES: Final = """
local current = redis.call('HMGET', KEYS[1] .. 'current', 'generation', 'epoch', 'offset')
if not current[1] then
    return {{}, '0'}
end
return {redis.call('HGETALL', KEYS[1] .. current[1] .. ':states'),
    current[2] and current[3] or '0'}
"""
"""The jobs in each state, and the offset at which that holds."""

CHANGED: Final = """
local current = redis.call('HMGET', KEYS[1] .. 'current', 'generation', 'offset')
if not current[1] then
    return false
end
local index = KEYS[1] .. current[1] .. ':' .. ARGV[1]
if ARGV[1] == '0' then
    return {current[1], current[2], {}}
end
if ARGV[3] ~= current[1] then
    return {current[1], current[2], redis.call('ZRANGEBYSCORE', index, ARGV[2], '+inf')}
end
local found = {}
for _, bucket in ipairs(
    redis.call('ZRANGEBYSCORE', index .. ':changed', '(' .. ARGV[4], '+inf')
) do
    if tonumber(bucket) >= tonumber(ARGV[2]) then
        found[#found + 1] = bucket
    end
end
return {current[1], current[2], found}
"""
"""The generation that is shown, its offset, and which buckets changed since another offset of it;
of another generation, all buckets. The lifetime has none. ARGV: resolution, first bucket,
generation, offset."""

BUCKETS: Final = """
if redis.call('HGET', KEYS[1] .. 'current', 'generation') ~= ARGV[1] then
    return false
end
local found = {}
for number = 2, #ARGV do
    found[number - 1] = redis.call('HGETALL', KEYS[1] .. ARGV[1] .. ':' .. ARGV[number])
end
return cjson.encode(found)
"""
"""The sums of some buckets, as one JSON text: as rows of an answer they would cost the client ten
times as much. Nil where another generation is shown. ARGV: generation, and each bucket as
resolution:start."""

TRIM: Final = """
local generation = redis.call('HGET', KEYS[1] .. 'current', 'generation')
if not generation then
    return 0
end
local base = KEYS[1] .. generation .. ':'
for _, limit in ipairs(cjson.decode(ARGV[1])) do
    local index = base .. limit[1]
    local old = redis.call('ZRANGEBYSCORE', index, '-inf', '(' .. limit[2], 'LIMIT', 0, 5000)
    for _, bucket in ipairs(old) do
        redis.call('UNLINK', index .. ':' .. bucket)
        redis.call('ZREM', index, bucket)
        redis.call('ZREM', index .. ':changed', bucket)
    end
end
local before = '(' .. (tonumber(redis.call('TIME')[1]) - tonumber(ARGV[2]))
local gone = redis.call('ZRANGEBYSCORE', base .. 'seen', '-inf', before, 'LIMIT', 0, 5000)
for _, publisher in ipairs(gone) do
    redis.call('HDEL', base .. 'numbers', publisher)
    redis.call('ZREM', base .. 'seen', publisher)
end
return 1
"""
"""Drops buckets below a limit each resolution has, and publishers not seen for some seconds."""
