-- Lists for wrk: wrk -t1 -c64 -d10s --latency -s benchmarks/recommend.lua http://127.0.0.1:8000/recommend
-- Friends are drawn from 1 to USERS (2000); ids that the model does not know are left out.

local users = tonumber(os.getenv("USERS") or "2000")
local key = os.getenv("KEY")

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
if key then wrk.headers["Authorization"] = "Bearer " .. key end

function init(args)
  math.randomseed(os.time())
end

function request()
  local friends = {}
  for place = 1, 8 do friends[place] = math.random(users) end
  local body = '{"friends": [' .. table.concat(friends, ",") .. '], "k": 10}'
  return wrk.format(nil, nil, nil, body)
end

function response(status, headers, body)
  if status ~= 200 then io.stderr:write(status .. " " .. body .. "\n") end
end
