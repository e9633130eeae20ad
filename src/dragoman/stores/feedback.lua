-- Which answer a score is of: what answers are known under, for the newest of them, and the score
-- that each got last. One hash, a field an answer; beside it when each came, by which they go again.
--
-- A field is two doubles, little endian, and the key that rewards of the answer are learned under:
-- when it was scored, ms, and the score, below 0 if it was not. A key begins with its half-life in
-- seconds and a space.
--
-- KEYS: the hash, and the sorted set of times. ARGV: the most answers there may be, how long one is
-- kept, ms, and how many of the following are answers, a name and a key each; then the scores, a name
-- and a number each. Returns for each score the key, '' where its answer is not known, and what is to
-- be added to the sums of it: scored answers and scores. A score given anew takes the place of what
-- is left of the one before.

local ROW = '<dd'
local most, life, answers = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

local at = 4
for _ = 1, answers do
  local name, key = ARGV[at], ARGV[at + 1]
  if redis.call('HSETNX', KEYS[1], name, struct.pack(ROW, 0, -1) .. key) == 1 then
    redis.call('ZADD', KEYS[2], now, name)
  end
  at = at + 2
end

local function forget(names)
  for _, name in ipairs(names) do
    redis.call('HDEL', KEYS[1], name)
    redis.call('ZREM', KEYS[2], name)
  end
end

if answers > 0 then
  forget(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now - life, 'LIMIT', 0, answers + 1000))
  local over = redis.call('ZCARD', KEYS[2]) - most
  if over > 0 then forget(redis.call('ZRANGE', KEYS[2], 0, over - 1)) end
  redis.call('PEXPIRE', KEYS[1], life)
  redis.call('PEXPIRE', KEYS[2], life)
end

local told = {}
for i = at, #ARGV, 2 do
  local name, score = ARGV[i], tonumber(ARGV[i + 1])
  local row = redis.call('HGET', KEYS[1], name)
  local key, scored, scores = '', 0, 0
  if row then
    local when, before, from = struct.unpack(ROW, row)
    key = string.sub(row, from)
    if before ~= score then
      local half_life = tonumber(string.match(key, '^%d+')) * 1000
      local left = before >= 0 and 0.5 ^ (math.max(0, now - when) / half_life) or 0
      scored, scores = 1 - left, score - before * left
      redis.call('HSET', KEYS[1], name, struct.pack(ROW, now, score) .. key)
    end
  end
  told[#told + 1] = key
  told[#told + 1] = string.format('%.17g', scored)
  told[#told + 1] = string.format('%.17g', scores)
end
return told
