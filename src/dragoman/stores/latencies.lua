-- What all workers saw of upstreams' times: one hash, a field a key.
--
-- A field's name begins with its half-life in seconds and a space; its value is when it was written,
-- ms, and its sums: "MS S1 … S8". Sums 1 and 7 count answers and failures.
--
-- KEYS: the hash. ARGV: the most fields there may be, below which weight one is forgotten; then for
-- each field to add to its name and its sums. Returns all fields, their names and their sums as of
-- now in turn.

local SUMS = 8
local LIFE_MS = 604800000

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local most, least = tonumber(ARGV[1]), tonumber(ARGV[2])

local function read(name, value)
  local numbers = {}
  for number in string.gmatch(value, '%S+') do numbers[#numbers + 1] = tonumber(number) end
  local half_life = tonumber(string.match(name, '^%d+')) * 1000
  local share = 0.5 ^ (math.max(0, now - numbers[1]) / half_life)
  local sums = {}
  for i = 1, SUMS do sums[i] = numbers[i + 1] * share end
  return sums
end

local function write(sums)
  local words = {}
  for i = 1, SUMS do words[i] = string.format('%.9g', sums[i]) end
  return table.concat(words, ' ')
end

for i = 3, #ARGV, SUMS + 1 do
  local name = ARGV[i]
  local value = redis.call('HGET', KEYS[1], name)
  if value or redis.call('HLEN', KEYS[1]) < most then
    local sums = value and read(name, value) or {0, 0, 0, 0, 0, 0, 0, 0}
    for j = 1, SUMS do sums[j] = sums[j] + tonumber(ARGV[i + j]) end
    redis.call('HSET', KEYS[1], name, string.format('%.0f ', now) .. write(sums))
  end
end
if #ARGV > 2 then redis.call('PEXPIRE', KEYS[1], LIFE_MS) end

local fields, told = redis.call('HGETALL', KEYS[1]), {}
for i = 1, #fields, 2 do
  local sums = read(fields[i], fields[i + 1])
  if sums[1] + sums[7] < least then
    redis.call('HDEL', KEYS[1], fields[i])
  else
    told[#told + 1] = fields[i]
    told[#told + 1] = write(sums)
  end
end
return told
