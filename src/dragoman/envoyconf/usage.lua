-- Reads token counts in answers, JSON and SSE, as they pass: a body is neither held nor kept. Takes
-- the usage chunk out of an OpenAI stream whose client did not ask for it.
-- DIALECTS and ANY stand above this text: where in a body or an event the counts are, what the name
-- of each ends with, and how they add up. An event in which nothing ends so is not looked at further.
local find, byte, sub, match = string.find, string.byte, string.sub, string.match
local NAMESPACE, TOKENS = "dragoman.usage", "dragoman.tokens"
local MAX_EVENT = 1048576
-- Of a name or a number. Longer, it would be put together anew with each piece of an answer.
local MAX_TOKEN = 65536
local SPACE = {[9] = true, [10] = true, [13] = true, [32] = true}
local BETWEEN_NAMES = {[9] = true, [10] = true, [13] = true, [32] = true, [44] = true}
local BEFORE_VALUE = {[9] = true, [10] = true, [13] = true, [32] = true, [58] = true}
local STRUCTURE = {[34] = true, [91] = true, [93] = true, [123] = true, [125] = true}
local QUOTE, BACKSLASH, OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = 34, 92, 123, 125, 91, 93

-- Where the string ends whose inside is read from `from`; else nil, and from where on the text is
-- needed to tell.
local function string_end(text, from)
  while true do
    local stop = find(text, '"', from, true)
    local slash = (stop or #text + 1) - 1
    while slash >= from and byte(text, slash) == BACKSLASH do slash = slash - 1 end
    if stop == nil then return nil, slash + 1 end
    if (stop - slash) % 2 == 1 then return stop end
    from = stop + 1
  end
end

-- Calls found(key, number) for each wanted count in the object that begins at `at`. more() gives
-- the text that follows, nil at its end: an answer is read as it comes.
local function scan(text, at, more, wanted, found)
  local function pull(keep)
    local following = more()
    if following == nil then return false end
    text, at = sub(text, keep) .. following, 1
    return true
  end

  -- The next byte for which `stops` says what is wanted: the compiler takes a loop over bytes, not
  -- a pattern.
  local function seek(stops, wanted)
    while true do
      local kind = byte(text, at)
      if kind == nil then
        if not pull(at) then return nil end
      elseif stops[kind] == wanted then
        return kind
      else
        at = at + 1
      end
    end
  end

  local function skip_string()
    local from = at + 1
    while true do
      local stop, needed = string_end(text, from)
      if stop ~= nil then at = stop + 1 return true end
      if not pull(needed) then return false end
      from = 1
    end
  end

  local function skip_nested()
    local depth = 0
    repeat
      local kind = seek(STRUCTURE, true)
      if kind == nil then return false end
      if kind == QUOTE then
        if not skip_string() then return false end
      else
        depth = depth + ((kind == OPEN or kind == OPEN_LIST) and 1 or -1)
        at = at + 1
      end
    until depth == 0
    return true
  end

  local function take_scalar()
    while true do
      local stop = find(text, "[,}%]%s]", at)
      if stop ~= nil then
        local value = match(text, "^%d[%d%.eE+-]*", at)
        at = stop
        return value and tonumber(value)
      end
      if #text - at > MAX_TOKEN or not pull(at) then return nil end
    end
  end

  local function take_key()
    while true do
      local stop = string_end(text, at + 1)
      if stop ~= nil then
        local key = sub(text, at + 1, stop - 1)
        at = stop + 1
        return key
      end
      if #text - at > MAX_TOKEN or not pull(at) then return nil end
    end
  end

  local function skip(kind)
    if kind == QUOTE then return skip_string() end
    if kind == OPEN or kind == OPEN_LIST then return skip_nested() end
    take_scalar()
    return true
  end

  local function take_object(names)
    at = at + 1
    while seek(BETWEEN_NAMES, nil) == QUOTE do
      local key = take_key()
      local kind = key and seek(BEFORE_VALUE, nil)
      if kind == nil then return false end
      local name = names[key]
      if type(name) == "table" and kind == OPEN then
        if not take_object(name) then return false end
      elseif type(name) == "string" and kind >= 48 and kind <= 57 then
        local number = take_scalar()
        if number ~= nil and number < 2 ^ 53 then found(name, number) end
      elseif not skip(kind) then
        return false
      end
    end
    at = at + 1
    return true
  end

  if seek(SPACE, nil) == OPEN then take_object(wanted) end
end

local function nothing() return nil end

local function count_body(chunks, wanted, found)
  local ended = false
  local function more()
    local chunk = not ended and chunks() or nil
    ended = chunk == nil
    return chunk and chunk:getBytes(0, chunk:length())
  end
  scan("", 1, more, wanted, found)
end

local function is_usage(event)
  return find(event, '"choices"%s*:%s*%[%s*%]') ~= nil and find(event, '"usage"%s*:%s*{') ~= nil
end

-- Where the last whole event ends.
local function last_break(text)
  for at = #text, 2, -1 do
    if byte(text, at) == 10 then
      local before = byte(text, at - 1)
      if before == 10 or (before == 13 and byte(text, at - 2) == 10) then return at end
    end
  end
  return 0
end

local function count_event(event, wanted, found)
  local data = string.gsub(event, "\r?\ndata: ?", "\n")
  local at = find(data, "{", 1, true)
  if at ~= nil then scan(data, at, nothing, wanted, found) end
end

-- Counts in the events of `text`, and gives it back without those that a client does not want.
local function read_events(text, dialect, strip, found)
  local kept, from = {}, 1
  while from <= #text do
    local _, stop = find(text, "\n\r?\n", from)
    local event = sub(text, from, stop)
    local hit = find(event, dialect.ending, 1, true) ~= nil
    if hit then count_event(event, dialect.events, found) end
    if not (strip and hit and is_usage(event)) then kept[#kept + 1] = event end
    from = from + #event
  end
  return table.concat(kept)
end

-- Chunks are cut anywhere: what follows the last whole event waits in `held` until it is whole, and
-- where an event may have to go, it also waits on its way to the client.
local function count_stream(chunks, dialect, strip, found)
  local held, size = {}, 0
  for chunk in chunks do
    local text = chunk:getBytes(0, chunk:length())
    local kept, changed = "", true
    if size > 0 and not find(text, "\n\r?\n") and not find(text, "^\r?\n") then
      held[#held + 1], size = text, size + #text
    else
      changed = size > 0
      if changed then
        held[#held + 1] = text
        text, held, size = table.concat(held), {}, 0
      end
      kept = text
      local stop = last_break(text)
      if stop < #text then
        held[1], size, changed = sub(text, stop + 1), #text - stop, true
        kept = sub(text, 1, stop)
      end
      if find(kept, dialect.ending, 1, true) ~= nil then
        kept, changed = read_events(kept, dialect, strip, found), true
      end
    end
    if size > MAX_EVENT then
      kept = kept .. table.concat(held)
      held, size = {}, 0
    end
    if strip and changed then chunk:setBytes(kept) end
  end
end

-- What the first family adds up to of which there is a count, as text that statistics can copy; of
-- the kinds that are rare all or none.
local function add_up(families, known)
  for _, family in ipairs(families) do
    if known[family.first] ~= nil or known[family.second] ~= nil then
      local sums, rare = {}, 0
      for kind, keys in pairs(family.kinds) do
        local sum = 0
        for key in pairs(keys) do sum = sum + (known[key] or 0) end
        sums[kind] = string.format("%.0f", sum)
        if kind ~= "input" and kind ~= "output" then rare = rare + sum end
      end
      if rare == 0 then return {input = sums.input, output = sums.output} end
      return sums
    end
  end
end

function envoy_on_response(handle)
  local facts = handle:streamInfo():dynamicMetadata():get("dragoman")
  local headers = handle:headers()
  local kind = headers:get("content-type")
  if facts == nil or facts["unread"] ~= nil or kind == nil then return end
  if headers:get("content-encoding") ~= nil then return end
  local dialect = DIALECTS[facts["client_dialect"]] or ANY
  local known = {}
  local function found(key, number)
    if known[key] == number then return end
    if number == 0 and known[key] == nil and dialect.tells[key] == nil then return end
    known[key] = number
    handle:streamInfo():dynamicMetadata():set(NAMESPACE, key, number)
  end
  if find(kind, "text/event-stream", 1, true) == 1 then
    local strip = facts["strip_usage"] ~= nil
    if strip then headers:remove("content-length") end
    count_stream(handle:bodyChunks(), dialect, strip, found)
  elseif dialect.body ~= nil and find(kind, "application/json", 1, true) == 1 then
    count_body(handle:bodyChunks(), dialect.body, found)
  end
  local sums = add_up(dialect.families, known)
  if sums ~= nil then handle:streamInfo():dynamicMetadata():set(TOKENS, "sum", sums) end
end
