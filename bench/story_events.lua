-- Story events for wrk: three stories, three types, 400,000 users.
-- Argument: the app's public token.
local head, count = "", 0
local types = { "impression", "close", "swipe" }

function init(args)
  math.randomseed(os.time())
  head = "POST /api/v1/event/" .. args[1] .. " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    .. "Content-Type: application/json\r\nContent-Length: "
end

function request()
  count = count + 1
  local body = '{"story_id": ' .. 1 + count % 3 .. ', "event_type": "' .. types[1 + count % 3]
    .. '", "user_id": "user-' .. math.random(400000) .. '-of-the-app"}'
  return head .. #body .. "\r\n\r\n" .. body
end
