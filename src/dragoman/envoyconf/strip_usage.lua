-- Takes the usage chunk out of an OpenAI stream whose client did not ask for it.
-- Chunks are cut anywhere: what follows the last whole event is held back until it is whole.
local HOLD = 65536

local function is_usage(event)
  return string.find(event, '"choices"%s*:%s*%[%s*%]') ~= nil
    and string.find(event, '"usage"%s*:%s*{') ~= nil
end

local function last_break(text)
  local from, at = 1, 0
  while true do
    local _, stop = string.find(text, "\r?\n\r?\n", from)
    if stop == nil then return at end
    at, from = stop, stop + 1
  end
end

local function without_usage(text)
  if string.find(text, '"choices"%s*:%s*%[%s*%]') == nil then return text end
  local kept, from = {}, 1
  while from <= #text do
    local _, stop = string.find(text, "\r?\n\r?\n", from)
    local event = string.sub(text, from, stop)
    if not is_usage(event) then kept[#kept + 1] = event end
    from = (stop or #text) + 1
  end
  return table.concat(kept)
end

function envoy_on_response(handle)
  local facts = handle:streamInfo():dynamicMetadata():get("dragoman")
  if facts == nil or facts["strip_usage"] ~= "1" then return end
  local kind = handle:headers():get("content-type")
  if kind == nil or string.find(kind, "text/event-stream", 1, true) ~= 1 then return end
  if handle:headers():get("content-encoding") ~= nil then return end
  handle:headers():remove("content-length")
  local held = ""
  for chunk in handle:bodyChunks() do
    local text = held .. chunk:getBytes(0, chunk:length())
    local at = last_break(text)
    if #text - at > HOLD then at = #text end
    held = string.sub(text, at + 1)
    chunk:setBytes(without_usage(string.sub(text, 1, at)))
  end
end
