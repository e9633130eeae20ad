-- How targets behave, against their own history; and which are not as usual.
-- KEYS: what is known of targets, when each was last seen, incidents, their version.
-- ARGV: target, now (s), window (s), half-life (s), requests needed, requests to recover, most
--   targets, number of signals, then for each: name, times, at least, kind, sum, count observed now.
-- Kinds: 'share' is a mean; 'above' the mean of logarithms; 'both' the same, and also too little is
--   told.
-- Answers: 'drifted', 'recovered' or '', the incident as JSON or ''.
local target, now, window, half_life = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local least, probes, most, signals = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])

local known = redis.call('HGET', KEYS[1], target)
known = known and cjson.decode(known) or {}
redis.call('ZADD', KEYS[2], now, target)
while redis.call('ZCARD', KEYS[2]) > most do
  local forgotten = redis.call('ZPOPMIN', KEYS[2])[1]
  redis.call('HDEL', KEYS[1], forgotten)
  if redis.call('HDEL', KEYS[3], forgotten) > 0 then redis.call('INCR', KEYS[4]) end
  if forgotten == target then return {'', ''} end
end

local found = redis.call('HGET', KEYS[3], target)
local incident = found and cjson.decode(found)
local held = {}
if incident then
  for _, name in ipairs(incident.signals) do held[name] = true end
end

local function mean(kind, sum, count)
  local plain = sum / count
  return kind == 'share' and plain or math.exp(plain)
end

-- Why lately is not as usual; nil where it is, or where nothing can be said.
local function differs(one, signal)
  if (signal.usual_count or 0) < least then return nil end
  local lately = mean(one.kind, signal.sum, signal.count)
  local usual = mean(one.kind, signal.usual_sum, signal.usual_count)
  local allowed = math.max(one.at_least, one.times * usual)
  if lately > allowed then return string.format('%s %.3g above %.3g', one.name, lately, allowed) end
  if one.kind == 'both' and usual > one.at_least and lately < usual / one.times then
    return string.format('%s %.3g below %.3g', one.name, lately, usual / one.times)
  end
end

local function learn(signal)
  local share = 0.5 ^ (math.max(0, now - (signal.usual_at or now)) / half_life)
  signal.usual_sum = (signal.usual_sum or 0) * share + signal.sum
  signal.usual_count = (signal.usual_count or 0) * share + signal.count
  signal.usual_at = now
end

local function begin(signal)
  signal.begun, signal.sum, signal.count = now, 0, 0
end

local names, reasons, still = {}, {}, false
for i = 0, signals - 1 do
  local at = 9 + 6 * i
  local one = {name = ARGV[at], times = tonumber(ARGV[at + 1]), at_least = tonumber(ARGV[at + 2]), kind = ARGV[at + 3]}
  local signal = known[one.name] or {sum = 0, count = 0, begun = now}
  known[one.name] = signal
  local observed = tonumber(ARGV[at + 5])
  if not incident or held[one.name] then
    signal.sum, signal.count = signal.sum + tonumber(ARGV[at + 4]), signal.count + observed
  end
  if incident then
    if held[one.name] then
      if signal.count >= probes then
        signal.well = not differs(one, signal)
        begin(signal)
      end
      still = still or not signal.well
    end
  elseif observed > 0 and signal.count >= least then
    local reason = differs(one, signal)
    if reason then
      names[#names + 1], reasons[#reasons + 1] = one.name, reason
    elseif now - signal.begun >= window then
      learn(signal)
      begin(signal)
    end
  end
end

-- What was seen until a drift is told, or is over, is part of no history: it is neither usual nor new.
local answer, told = '', ''
if not incident and #names > 0 then
  answer = 'drifted'
  told = cjson.encode({target = target, signals = names, reasons = reasons, since = now})
  redis.call('HSET', KEYS[3], target, told)
elseif incident and not still then
  answer, told = 'recovered', found
  redis.call('HDEL', KEYS[3], target)
end
if answer ~= '' then
  for _, signal in pairs(known) do
    begin(signal)
    signal.well = nil
  end
  redis.call('INCR', KEYS[4])
end
redis.call('HSET', KEYS[1], target, cjson.encode(known))
return {answer, told}
