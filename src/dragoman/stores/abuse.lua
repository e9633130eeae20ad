-- How callers behave, against their own history; and who was found to abuse the service.
-- KEYS: the caller's history, its addresses in this window, all standings, their version.
-- ARGV: caller, now (s), window (s), decay a window, keep (s), seconds a standing lasts,
--   scores of alert, throttle, suspend (0: never), number of signals,
--   then for each signal: name, times, at least, observed now; then digests of addresses.
-- Answers: whether the standing rose, the standing as JSON or ''.
local LEVELS = {'alert', 'throttle', 'suspend'}
local caller, now, seconds, decay = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local keep, lasts, signals = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[10])
local window = math.floor(now / seconds)

local known = {}
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do known[flat[i]] = flat[i + 1] end
local begun = tonumber(known.window or window)
local has_passed = window > begun

local first_address = 11 + 4 * signals
if ARGV[first_address] then
  redis.call('PFADD', KEYS[2], unpack(ARGV, first_address))
  redis.call('PEXPIRE', KEYS[2], 2000 * seconds)
end

-- One window's count becomes part of the history when the next one begins: no more of it than was
-- allowed, so that abuse that goes on does not become what is usual.
local function look(name, times, at_least, observed)
  local mean, count = tonumber(known['mean:' .. name]), tonumber(known['count:' .. name] or 0)
  if has_passed and known.window then
    local usual = math.min(count, math.max(at_least, times * (mean or 0)))
    mean = mean and (mean * decay + usual * (1 - decay)) or usual
    redis.call('HSET', KEYS[1], 'mean:' .. name, string.format('%.6f', mean))
    count = 0
  end
  if name == 'addresses' then
    count = math.max(count, redis.call('PFCOUNT', KEYS[2]))
  else
    count = count + observed
  end
  redis.call('HSET', KEYS[1], 'count:' .. name, string.format('%.9g', count))
  return count, math.max(at_least, times * (mean or 0))
end

local score, reasons = 0, {}
for i = 0, signals - 1 do
  local at = 11 + 4 * i
  local name, times, at_least = ARGV[at], tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local count, allowed = look(name, times, at_least, tonumber(ARGV[at + 3]))
  if count > allowed then
    reasons[#reasons + 1] = string.format('%s %.9g of %.9g', name, count, allowed)
    score = math.max(score, count / allowed)
  end
end
redis.call('HSET', KEYS[1], 'window', math.max(window, begun))
redis.call('EXPIRE', KEYS[1], keep)

local former = redis.call('HGET', KEYS[3], caller)
former = former and cjson.decode(former)
local level = 0
for i = 1, 3 do
  local threshold = tonumber(ARGV[6 + i])
  if threshold > 0 and score > threshold then level = i end
end
if now < tonumber(known.pardoned_until or 0) then level = math.min(level, 1) end
local before = (former and former['until'] > now) and former.level or 0
if level == 0 or level < before then return {0, ''} end
local standing = cjson.encode({
  caller = caller, level = level, action = LEVELS[level], score = math.floor(score * 100) / 100,
  reasons = reasons, since = level == before and former.since or now, ['until'] = now + lasts,
})
redis.call('HSET', KEYS[3], caller, standing)
redis.call('INCR', KEYS[4])
return {level > before and 1 or 0, standing}
