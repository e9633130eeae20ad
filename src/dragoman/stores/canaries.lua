-- How far a canary is: a share of requests that grows while its answers are no worse than the
-- stable model's in the same step, and falls to nothing when they are.
-- KEYS: its state, the hash of all standings, their version.
-- ARGV: model, digest of its definition, now (s), seconds a step, at least so many answers,
--   limits of errors, time and cost (-1: not looked at), number of steps, the steps (percent),
--   then for the candidate and for the stable model: answers, errors, ms, ms squared, usd, usd squared.
-- Answers: the event that this brought ('' for none), the standing as JSON or ''.
local LEAST = 20    -- answers of either side before anything is said against the candidate
local SURE = 3.1    -- standard errors: one wrong look of a thousand where both are the same
local model, digest, now = ARGV[1], ARGV[2], tonumber(ARGV[3])
local step_seconds, at_least, count = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[9])
local FIELDS = {'answers', 'errors', 'ms', 'ms2', 'usd', 'usd2'}

local known = redis.call('HGET', KEYS[2], model)
known = known and cjson.decode(known)
local event = ''
if not known or known.digest ~= digest then
  known = {model = model, digest = digest, state = 'running', step = 0, since = now, why = ''}
  redis.call('DEL', KEYS[1])
  event = 'started'
end

local function write()
  known.percent = tonumber(ARGV[10 + known.step])
  if known.state == 'promoted' then known.percent = 100 end
  if known.state == 'rolled_back' then known.percent = 0 end
  local text = cjson.encode(known)
  redis.call('HSET', KEYS[2], model, text)
  redis.call('INCR', KEYS[3])
  return {event, text}
end

if known.state ~= 'running' then return {'', ''} end
local sums = {}
for side = 0, 1 do
  for i, field in ipairs(FIELDS) do
    local name = (side == 0 and 'candidate:' or 'stable:') .. field
    local told = ARGV[10 + count + side * #FIELDS + i - 1]
    if tonumber(told) ~= 0 then
      sums[name] = tonumber(redis.call('HINCRBYFLOAT', KEYS[1], name, told))
    else
      sums[name] = tonumber(redis.call('HGET', KEYS[1], name) or 0)
    end
  end
end
local candidate, stable = sums['candidate:answers'], sums['stable:answers']

local function mean(side, field, answers)
  local m = sums[side .. field] / answers
  return m, math.max(sums[side .. field .. '2'] / answers - m * m, 0)
end

local function errors_are_more(limit)
  local function share(side, answers)
    local p = (sums[side .. 'errors'] + 1) / (answers + 2)
    return p, p * (1 - p) / (answers + 2)
  end
  local ours, our_variance = share('candidate:', candidate)
  local theirs, their_variance = share('stable:', stable)
  if ours - theirs - limit <= SURE * math.sqrt(our_variance + their_variance) then return nil end
  return string.format('errors %d of %d against %d of %d',
    sums['candidate:errors'], candidate, sums['stable:errors'], stable)
end

local function is_more(field, limit)
  local ours, our_variance = mean('candidate:', field, candidate)
  local theirs, their_variance = mean('stable:', field, stable)
  local error = math.sqrt(our_variance / candidate + limit * limit * their_variance / stable)
  if ours - limit * theirs <= SURE * error then return nil end
  return string.format('%s %.4g against %.4g', field, ours, theirs)
end

local why
if candidate >= LEAST and stable >= LEAST then
  local limit = tonumber(ARGV[6])
  if limit >= 0 then why = errors_are_more(limit) end
  for i, field in ipairs({'ms', 'usd'}) do
    limit = tonumber(ARGV[6 + i])
    if not why and limit >= 0 then why = is_more(field, limit) end
  end
end
if why then
  known.state, known.why, event = 'rolled_back', why, 'rolled_back'
elseif known.step < count - 1 and now - known.since >= step_seconds and candidate >= at_least then
  known.why = string.format('%d answers, %d errors; stable %d, %d', candidate,
    sums['candidate:errors'], stable, sums['stable:errors'])
  known.step, known.since, event = known.step + 1, now, 'step'
  redis.call('DEL', KEYS[1])
  if tonumber(ARGV[10 + known.step]) == 100 then known.state, event = 'promoted', 'promoted' end
end
if event == '' then return {'', ''} end
return write()
