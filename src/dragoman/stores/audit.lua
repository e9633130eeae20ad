-- Carries the audit trail on, if it still ends where the writer thinks, and with it changes a key:
-- neither is ever done without the other.
--
-- KEYS: the entries (a stream; the id of each is its sequence), where they end ("SEQUENCE HASH"),
-- and, where a key changes, the keys, their version, and the changes that are still to be told.
-- ARGV: where they ended, where they will, the first sequence, how many the stream keeps, how many
-- come, they themselves, and, where a key changes, its digest, its row, and what is to be told of
-- it: nothing where nobody is.
-- Returns 1 once the entries are there, also where an earlier call of the same had put them there.
local count, first = tonumber(ARGV[5]), ARGV[3] .. '-0'
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then
  local found = redis.call('XRANGE', KEYS[1], first, first)
  if found[1] and found[1][2][2] == ARGV[6] then return 1 end
  return 0
end
for i = 1, count do
  local id = string.format('%.0f-0', ARGV[3] + i - 1)
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[4], id, 'entry', ARGV[5 + i])
end
redis.call('SET', KEYS[2], ARGV[2])
if KEYS[3] then
  redis.call('HSET', KEYS[3], ARGV[6 + count], ARGV[7 + count])
  redis.call('INCR', KEYS[4])
  if ARGV[8 + count] ~= '' then
    redis.call('RPUSH', KEYS[5], ARGV[8 + count])
    redis.call('LTRIM', KEYS[5], -1000, -1)
  end
end
return 1
