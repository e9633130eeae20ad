-- What all workers saw of upstreams' times: one hash, a field a key.
--
-- A field's name begins with its half-life in seconds and a space. Its value is twelve doubles, little
-- endian: when it was written, ms, and its sums, of which the first, the seventh and the tenth count
-- answers, failures and scores.
--
-- KEYS: the hash. ARGV: the most fields there may be, below which weight one is forgotten; then for
-- each field to add to its name and its sums. Returns all fields, their names and their values as of
-- now in turn.

local SUMS = 11
local ROW, ADDED = '<dddddddddddd', '<ddddddddddd'
local LIFE_MS = 604800000

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local most, least = tonumber(ARGV[1]), tonumber(ARGV[2])

local function read(name, value)
  local row = {struct.unpack(ROW, value)}
  local half_life = tonumber(string.match(name, '^%d+')) * 1000
  local share = 0.5 ^ (math.max(0, now - row[1]) / half_life)
  row[1] = now
  for i = 2, SUMS + 1 do row[i] = row[i] * share end
  return row
end

local fields = redis.call('HGETALL', KEYS[1])
local names, rows = {}, {}
for i = 1, #fields, 2 do
  names[#names + 1] = fields[i]
  rows[fields[i]] = read(fields[i], fields[i + 1])
end

for i = 3, #ARGV, 2 do
  local name, added = ARGV[i], {struct.unpack(ADDED, ARGV[i + 1])}
  local row = rows[name]
  if not row and #names < most then
    row = {now, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
    names[#names + 1] = name
    rows[name] = row
  end
  if row then
    for j = 1, SUMS do row[j + 1] = row[j + 1] + added[j] end
    redis.call('HSET', KEYS[1], name, struct.pack(ROW, unpack(row)))
  end
end
if #ARGV > 2 then redis.call('PEXPIRE', KEYS[1], LIFE_MS) end

local told = {}
for _, name in ipairs(names) do
  local row = rows[name]
  if row[2] + row[8] + row[11] < least then
    redis.call('HDEL', KEYS[1], name)
  else
    told[#told + 1] = name
    told[#told + 1] = struct.pack(ROW, unpack(row))
  end
end
return told
