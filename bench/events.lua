-- Events for wrk, no two alike: 20,000 sessions, three types, a path that differs.
-- Arguments: sender (none, v7 or random), events a request, token.
local sender, size, head
local sessions, count, moment, second = {}, 0, "", 0

local function uuid(kind, ms, tail)
  return string.format("%08x-%04x-%s%03x-8%03x-%012x", math.floor(ms / 65536), ms % 65536, kind,
    tail % 4096, math.floor(tail / 4096) % 4096, tail)
end

function init(args)
  sender, size = args[1], tonumber(args[2])
  math.randomseed(os.time())
  for i = 1, 20000 do
    sessions[i] = uuid("4", math.random(0, 2 ^ 47), i)
  end
  head = "POST /events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer " .. args[3]
    .. "\r\nContent-Type: " .. (size > 1 and "application/x-ndjson" or "application/json")
    .. "\r\nContent-Length: "
end

local function event()
  count = count + 1
  local kind, data = count % 3
  if kind == 0 then
    data = '"category":"page interaction","name":"pageview","data":{"host":"www.example.com","path":"/p/'
      .. count % 977 .. '"}'
  elseif kind == 1 then
    data = '"category":"page interaction","name":"cta click","data":{"host":"www.example.com","path":"/p/'
      .. count % 977 .. '","element":"chat bubble ' .. count % 13 .. '"}'
  else
    data = '"category":"form interaction","name":"submit","data":{"host":"www.example.com","path":"/p/'
      .. count % 977 .. '","form":{"first_name":"John ' .. count .. '","last_name":"Doe"}}'
  end
  local named = ""
  if sender == "v7" then
    named = '"sender_id":"' .. uuid("7", os.time() * 1000, count) .. '",'
  elseif sender == "random" then
    named = '"sender_id":"' .. uuid("4", math.random(0, 2 ^ 47), count) .. '",'
  end
  return '{"session_id":"' .. sessions[math.random(20000)] .. '",' .. named .. data
    .. ',"timestamp":"' .. moment .. string.format("%06d", count % 1000000) .. 'Z"}'
end

function request()
  if count - second >= 200 or moment == "" then
    second, moment = count, os.date("!%Y-%m-%dT%H:%M:%S.")
  end
  local body
  if size == 1 then
    body = event()
  else
    local lines = {}
    for i = 1, size do
      lines[i] = event()
    end
    body = table.concat(lines, "\n")
  end
  return head .. #body .. "\r\n\r\n" .. body
end
