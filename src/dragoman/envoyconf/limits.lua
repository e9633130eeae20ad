-- Reads what a provider's answer says is left of its own rate limits, into the metadata
-- dragoman.limits: PROVIDER: left, in thousandths, and resets_at, in Unix seconds, or paused_until,
-- likewise. Of several limits the one of which the least is left counts. PROVIDER stands above.
local NAMESPACE = "dragoman.limits"
local DEFAULT_SECONDS, MOST_SECONDS = 60, 86400
local UNITS = {ms = 0.001, s = 1, m = 60, h = 3600, d = 86400}
-- Each: how much there is, how much is left of it, and when or in what time it is whole again.
local LIMITS = {}
for _, of in ipairs({"requests", "tokens"}) do
  local name = "x-ratelimit-%s-" .. of
  LIMITS[#LIMITS + 1] = {name:format("limit"), name:format("remaining"), name:format("reset")}
end
for _, of in ipairs({"requests", "tokens", "input-tokens", "output-tokens"}) do
  local name = "anthropic-ratelimit-" .. of .. "-%s"
  LIMITS[#LIMITS + 1] = {name:format("limit"), name:format("remaining"), name:format("reset")}
end

-- Unix seconds of a time such as 2026-11-25T11:05:31Z; nil of other texts.
local function unix_time(text)
  local year, month, day, hour, minute, second =
    text:match("^(%d%d%d%d)-(%d%d)-(%d%d)T(%d%d):(%d%d):(%d%d)[%d.]*Z$")
  if year == nil then return nil end
  year, month = tonumber(year), tonumber(month)
  if month <= 2 then year = year - 1 end
  local days = 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * ((month + 9) % 12) + 2) / 5) + tonumber(day) - 719469
  return days * 86400 + tonumber(hour) * 3600 + tonumber(minute) * 60 + tonumber(second)
end

local function number(text)
  return text ~= nil and text:match("^%d[%d.]*$") and tonumber(text) or nil
end

-- In how many seconds: 12, 1.5, 20ms and 6m0s are such; nil of other texts.
local function seconds(text, now)
  if #text > 32 then return nil end
  local time = unix_time(text)
  if time ~= nil then return time - now end
  if number(text) then return number(text) end
  local sum, rest = 0, text:gsub("([%d.]+)(%a+)", function(number, unit)
    return (tonumber(number) and UNITS[unit]) and "" or nil
  end)
  if rest ~= "" or text == "" then return nil end
  for number, unit in text:gmatch("([%d.]+)(%a+)") do
    sum = sum + tonumber(number) * UNITS[unit]
  end
  return sum
end

local function thousandths(remaining, limit)
  if remaining == nil then return nil end
  if remaining <= 0 then return 0 end
  if limit == nil or limit <= 0 then return nil end
  return math.max(1, math.floor(1000 * math.min(1, remaining / limit)))
end

local function after(now, wait)
  return string.format("%d", now + math.ceil(math.max(0, math.min(MOST_SECONDS, wait))))
end

local function pause(headers, now)
  local status = tonumber(headers:get(":status")) or 0
  if status < 400 then return nil end
  local ms = number(headers:get("retry-after-ms"))
  return ms and ms / 1000 or seconds(headers:get("retry-after") or "", now)
end

function envoy_on_response(handle)
  local headers, now = handle:headers(), os.time()
  local left, wait
  for _, names in ipairs(LIMITS) do
    local remaining = headers:get(names[2])
    local found = remaining
      and thousandths(number(remaining), number(headers:get(names[1])))
    if found and (left == nil or found < left) then
      left, wait = found, seconds(headers:get(names[3]) or "", now) or DEFAULT_SECONDS
    end
  end
  local told, asked = {}, pause(headers, now)
  if left ~= nil then
    told.left, told.resets_at = string.format("%d", left), after(now, wait)
  end
  if asked ~= nil then told.paused_until = after(now, asked) end
  if next(told) ~= nil then
    handle:streamInfo():dynamicMetadata():set(NAMESPACE, PROVIDER, told)
  end
end
