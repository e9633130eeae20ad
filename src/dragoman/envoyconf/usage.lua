-- Reads token counts in answers, JSON and SSE, as they pass: no body is held. Takes the usage chunk
-- out of an OpenAI stream whose client did not ask for it.
-- DIALECTS and ANY stand above this text: where in a body or an event the counts are, what the name
-- of each ends with, how they add up, and which kinds are RARE. An event in which nothing ends so is
-- not looked at further.
local find, byte, sub, match = string.find, string.byte, string.sub, string.match
local NAMESPACE, NONE = "dragoman.usage", {}
local MAX_EVENT = 1048576
-- Of a JSON answer that is kept until it is whole, to be read from its end; a longer one is not.
local MAX_KEPT = 65536
-- Where the member is looked for first that the counts stand in.
local NEAR_END = 1024
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

-- A reader of JSON text: where in `text` it is (`at`), what gives the text that follows (`more`, nil
-- at the end: an answer is read as it comes), and the counts it has found, by key.
local function reader(text, at, more, known)
  return {text = text, at = at, more = more, known = known, changed = false}
end

local function nothing() return nil end

local function pull(r, keep)
  local following = r.more()
  if following == nil then return false end
  r.text, r.at = sub(r.text, keep) .. following, 1
  return true
end

-- The next byte for which `stops` says what is wanted: the compiler takes a loop over bytes, not a
-- pattern.
local function seek(r, stops, wanted)
  repeat
    local text, at = r.text, r.at
    local kind = byte(text, at)
    while kind ~= nil and stops[kind] ~= wanted do
      at = at + 1
      kind = byte(text, at)
    end
    r.at = at
    if kind ~= nil then return kind end
  until not pull(r, at)
end

local function skip_string(r)
  local from = r.at + 1
  while true do
    local stop, needed = string_end(r.text, from)
    if stop ~= nil then r.at = stop + 1 return true end
    if not pull(r, needed) then return false end
    from = 1
  end
end

local function skip_nested(r)
  local depth = 0
  repeat
    local kind = seek(r, STRUCTURE, true)
    if kind == nil then return false end
    if kind == QUOTE then
      if not skip_string(r) then return false end
    else
      depth = depth + ((kind == OPEN or kind == OPEN_LIST) and 1 or -1)
      r.at = r.at + 1
    end
  until depth == 0
  return true
end

local function take_scalar(r)
  while true do
    local stop = find(r.text, "[,}%]%s]", r.at)
    if stop ~= nil then
      local value = match(r.text, "^%d[%d%.eE+-]*", r.at)
      r.at = stop
      return value and tonumber(value)
    end
    if #r.text - r.at > MAX_TOKEN or not pull(r, r.at) then return nil end
  end
end

local function take_key(r)
  while true do
    local stop = string_end(r.text, r.at + 1)
    if stop ~= nil then
      local key = sub(r.text, r.at + 1, stop - 1)
      r.at = stop + 1
      return key
    end
    if #r.text - r.at > MAX_TOKEN or not pull(r, r.at) then return nil end
  end
end

local function skip(r, kind)
  if kind == QUOTE then return skip_string(r) end
  if kind == OPEN or kind == OPEN_LIST then return skip_nested(r) end
  take_scalar(r)
  return true
end

local function found(r, key, number)
  if number ~= nil and number < 2 ^ 53 and r.known[key] ~= number then
    r.known[key], r.changed = number, true
  end
end

-- A count: its digits, or nil where it is more than these.
local function take_digits(r)
  local text, at, number = r.text, r.at, 0
  local digit = byte(text, at)
  while digit ~= nil and digit >= 48 and digit <= 57 do
    number, at = 10 * number + digit - 48, at + 1
    digit = byte(text, at)
  end
  if digit ~= 44 and digit ~= CLOSE then return nil end
  r.at = at
  return number
end

-- Finds what is wanted in the rest of an object, from some member's name to its end.
local function take_members(r, wanted)
  while seek(r, BETWEEN_NAMES, nil) == QUOTE do
    local key = take_key(r)
    local kind = key and seek(r, BEFORE_VALUE, nil)
    if kind == nil then return false end
    local name = wanted[key]
    if kind >= 48 and kind <= 57 then
      local number = take_digits(r) or take_scalar(r)
      if type(name) == "string" then found(r, name, number) end
    elseif type(name) == "table" and kind == OPEN then
      r.at = r.at + 1
      if not take_members(r, name) then return false end
    elseif not skip(r, kind) then
      return false
    end
  end
  if byte(r.text, r.at) ~= CLOSE then return false end
  r.at = r.at + 1
  return true
end

local function take_object(r, wanted)
  if seek(r, SPACE, nil) ~= OPEN then return end
  r.at = r.at + 1
  take_members(r, wanted)
end

-- Where `name` begins for the last time.
local function last_place(text, name)
  local at = find(text, name, math.max(1, #text - NEAR_END), true) or find(text, name, 1, true)
  local later = at
  while later ~= nil do
    at, later = later, find(text, name, later + #name, true)
  end
  return at
end

-- The counts of a whole answer, all of which stand in one member. It is mostly among the last, and
-- nothing before it is looked at, but what follows: where the object that it is in ends with the
-- answer, it is the answer's own. Else nil, and the whole has to be read.
local function count_end(text, dialect)
  local name = dialect.member
  local at = last_place(text, name)
  if at == nil or byte(text, at - 1) == BACKSLASH then return nil end
  if not find(text, "^%s*:%s*{", at + #name) then return nil end
  local r = reader(text, at, nothing, {})
  if take_members(r, dialect.body) and seek(r, SPACE, nil) == nil and r.changed then
    return r.known
  end
end

-- The beginning of an answer, all of it if it is short.
local function beginning(more)
  local pieces, size = {}, 0
  repeat
    local piece = more()
    if piece == nil then break end
    pieces[#pieces + 1], size = piece, size + #piece
  until size > MAX_KEPT
  return pieces[2] and table.concat(pieces) or pieces[1] or ""
end

local function count_body(chunks, dialect)
  local ended = false
  local function more()
    local chunk = not ended and chunks() or nil
    ended = chunk == nil
    return chunk and chunk:getBytes(0, chunk:length())
  end
  local text = dialect.member ~= nil and beginning(more) or ""
  local known = ended and count_end(text, dialect)
  if known then return known end
  local r = reader(text, 1, more, {})
  take_object(r, dialect.body)
  return r.known
end

-- What the first family adds up to of which there is a count; of the kinds that are rare and have
-- statistics of their own all or none.
local function add_up(families, known)
  for _, family in ipairs(families) do
    if known[family.first] ~= nil or known[family.second] ~= nil then
      local sums, rare = {input = 0, output = 0, grows = family.grows}, false
      for key, number in pairs(known) do
        for _, kind in ipairs(number > 0 and family.counts[key] or NONE) do
          sums[kind] = (sums[kind] or 0) + number
          rare = rare or RARE[kind] ~= nil
        end
      end
      for kind in pairs(rare and RARE or NONE) do sums[kind] = sums[kind] or 0 end
      return sums
    end
  end
end

-- All counts at once: each time costs more than to read them did.
local function note(handle, dialect, known)
  local sums = add_up(dialect.families, known)
  if sums ~= nil then handle:streamInfo():dynamicMetadata():set(NAMESPACE, "sum", sums) end
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

local function count_event(event, wanted, known)
  local data = string.gsub(event, "\r?\ndata: ?", "\n")
  local at = find(data, "{", 1, true)
  if at == nil then return false end
  local r = reader(data, at, nothing, known)
  take_object(r, wanted)
  return r.changed
end

-- Counts in the events of `text`, and gives it back without those that a client does not want; then
-- whether a count has changed.
local function read_events(text, dialect, strip, known)
  local kept, from, changed = {}, 1, false
  while from <= #text do
    local _, stop = find(text, "\n\r?\n", from)
    local event = sub(text, from, stop)
    local hit = find(event, dialect.ending, 1, true) ~= nil
    if hit and count_event(event, dialect.events, known) then changed = true end
    if not (strip and hit and is_usage(event)) then kept[#kept + 1] = event end
    from = from + #event
  end
  return table.concat(kept), changed
end

-- Chunks are cut anywhere: what follows the last whole event waits in `held` until it is whole, and
-- where an event may have to go, it also waits on its way to the client.
local function count_stream(handle, dialect, strip)
  local held, size, known = {}, 0, {}
  for chunk in handle:bodyChunks() do
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
        local counted
        kept, counted = read_events(kept, dialect, strip, known)
        changed = true
        if counted then note(handle, dialect, known) end
      end
    end
    if size > MAX_EVENT then
      kept = kept .. table.concat(held)
      held, size = {}, 0
    end
    if strip and changed then chunk:setBytes(kept) end
  end
end

function envoy_on_response(handle)
  local facts = handle:streamInfo():dynamicMetadata():get("dragoman")
  local headers = handle:headers()
  local kind = headers:get("content-type")
  if facts == nil or facts["unread"] ~= nil or kind == nil then return end
  if headers:get("content-encoding") ~= nil then return end
  local dialect = DIALECTS[facts["client_dialect"]] or ANY
  if find(kind, "text/event-stream", 1, true) == 1 then
    local strip = facts["strip_usage"] ~= nil
    if strip then headers:remove("content-length") end
    count_stream(handle, dialect, strip)
  elseif dialect.body ~= nil and find(kind, "application/json", 1, true) == 1 then
    note(handle, dialect, count_body(handle:bodyChunks(), dialect))
  end
end
