-- A counter is one hash, alone under its key, so that a cluster keeps each where it likes.
--
--   u:BUCKET   what was used, settled; one bucket, or one a part of a rolling window
--   l:LEASE    what is out on a lease: taken, and neither settled nor returned
--   x:LEASE    when the lease is given up, ms, and whether anything of it is still to be reserved
--              rather than in use, 1 or 0: "MS SPARE"
--   s:WRITER   the number of the writer's last batch, and when it came, ms: "N MS"
--   w:LEVEL    which writer's batch brought what was used to this part of the limit: "WRITER N"
--   carried    what an earlier window left over
--   short      until when, ms, whoever has a lease to spare should give it back
--
-- Amounts are whole numbers. used + out on leases never exceeds the limit by anything but what
-- settled above its reservation, or settled after its lease was given up.

local WRITER_MS = 3600000
local SHORT_MS = 1000

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function until_ms(ms, spare)
  return string.format('%.0f %d', ms, spare)
end

-- The sums of the counter, after what is over was cleared away: used, out on leases, carried over,
-- and what of the leases may not be in use.
local function read(key, now, oldest)
  local fields = redis.call('HGETALL', key)
  local used, out, carried, spare = 0, 0, 0, 0
  local leases, ends, spares = {}, {}, {}
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    local kind, rest = string.sub(name, 1, 2), string.sub(name, 3)
    if kind == 'u:' then
      if tonumber(rest) < oldest then redis.call('HDEL', key, name) else used = used + value end
    elseif kind == 'l:' then
      leases[rest] = tonumber(value)
    elseif kind == 'x:' then
      local ms, has_spare = string.match(value, '^(%d+) (%d)$')
      ends[rest], spares[rest] = tonumber(ms), has_spare == '1'
    elseif kind == 's:' then
      local seen = tonumber(string.match(value, ' (%d+)$'))
      if now - seen > WRITER_MS then redis.call('HDEL', key, name) end
    elseif name == 'carried' then
      carried = tonumber(value)
    end
  end
  for lease, amount in pairs(leases) do
    if (ends[lease] or 0) <= now then
      redis.call('HDEL', key, 'l:' .. lease, 'x:' .. lease)
    else
      out = out + amount
      if spares[lease] then spare = spare + amount end
    end
  end
  return used, out, carried, spare
end

-- The sum that was used in another counter: the window before.
local function used_in(key)
  local used = 0
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 2) == 'u:' then used = used + fields[i + 1] end
  end
  return used
end

-- KEYS: counter, the window before (or the counter again).
-- ARGV: limit, needed, wanted, lease, lease ms, counter's life ms, oldest bucket, carries over.
-- Returns what was granted, used, out on leases after it, the limit with what was carried, and how
-- much others may give back unused. Who asks has nothing to spare.
local function take(keys, args)
  local key, before = keys[1], keys[2]
  local limit, needed, wanted = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
  local lease, now = args[4], now_ms()
  local own = redis.call('HGET', key, 'x:' .. lease)
  if own then redis.call('HSET', key, 'x:' .. lease, until_ms(tonumber(string.match(own, '^%d+')), 0)) end
  local used, out, carried, spare = read(key, now, tonumber(args[7]))
  if args[8] == '1' and before ~= key and redis.call('HEXISTS', key, 'carried') == 0 then
    carried = 0
    if redis.call('EXISTS', before) == 1 then carried = math.max(0, limit - used_in(before)) end
    redis.call('HSET', key, 'carried', carried)
  end
  local free = math.max(limit + carried - used - out, 0)
  if free * 8 < limit then wanted = needed end
  local granted = math.min(wanted, math.max(needed, math.floor(free / 4)), free)
  if granted < needed then
    redis.call('HSET', key, 'short', string.format('%.0f', now + SHORT_MS))
  end
  if granted > 0 then
    redis.call('HINCRBY', key, 'l:' .. lease, granted)
    local has_spare = granted >= needed and 1 or 0
    redis.call('HSET', key, 'x:' .. lease, until_ms(now + args[5], has_spare))
  end
  if redis.call('EXISTS', key) == 1 then redis.call('PEXPIRE', key, args[6]) end
  return {granted, used, out + granted, limit + carried, spare}
end

-- The sum that was used, the limit with what was carried, and which of `levels`, parts of that
-- limit such as "0.8 0.95", the sum reached with this very batch. A level that it is below, as the
-- window rolls on, may be reached again.
local function reached(key, mark, now, limit, oldest, levels)
  local used, _, carried = read(key, now, oldest)
  local found = {used, limit + carried}
  for level in string.gmatch(levels, '%S+') do
    local name = 'w:' .. level
    if used < (limit + carried) * tonumber(level) then
      redis.call('HDEL', key, name)
    elseif redis.call('HSETNX', key, name, mark) == 1 or redis.call('HGET', key, name) == mark then
      found[#found + 1] = level
    end
  end
  return found
end

-- KEYS: counter. ARGV: writer, batch, counter's life ms, the limit, the oldest bucket, the levels to
-- tell of (or nothing), then of each settlement: lease, what of it comes back, bucket, what was
-- used, and, where its worker is done with the lease, how long the rest may take, ms. A batch that
-- came before is not counted again, and answered as it was.
-- Returns 1 where somebody is short of what others have on leases, else 0, and, where there are
-- levels, what `reached` returns.
local function settle(keys, args)
  local key, writer, batch, now = keys[1], 's:' .. args[1], tonumber(args[2]), now_ms()
  local mark, limit, oldest = args[1] .. ' ' .. args[2], tonumber(args[4]), tonumber(args[5])
  local function answer(is_short)
    if args[6] == '' then return {is_short} end
    return {is_short, unpack(reached(key, mark, now, limit, oldest, args[6]))}
  end
  local last = redis.call('HGET', key, writer)
  if last and tonumber(string.match(last, '^(%d+)')) >= batch then return answer(0) end
  local short = tonumber(redis.call('HGET', key, 'short') or 0)
  redis.call('HSET', key, writer, string.format('%.0f %.0f', batch, now))
  for i = 7, #args, 5 do
    local lease, used, rest = args[i], tonumber(args[i + 3]), tonumber(args[i + 4])
    if used ~= 0 then redis.call('HINCRBY', key, 'u:' .. args[i + 2], used) end
    local left = tonumber(redis.call('HGET', key, 'l:' .. lease) or 0) - args[i + 1]
    if left <= 0 then
      redis.call('HDEL', key, 'l:' .. lease, 'x:' .. lease)
    else
      redis.call('HSET', key, 'l:' .. lease, string.format('%.0f', left))
      if rest > 0 then redis.call('HSET', key, 'x:' .. lease, until_ms(now + rest, 0)) end
    end
  end
  redis.call('PEXPIRE', key, args[3])
  return answer(short > now and 1 or 0)
end

local calls = {take = take, settle = settle}
local rest = {}
for i = 2, #ARGV do rest[i - 1] = ARGV[i] end
return calls[ARGV[1]](KEYS, rest)
