-- Sends the requests of a file, one a line: header names and values, an empty field, the body.
-- With PAUSE_MS, every connection pauses for a random time with that mean before each request.
local file = io.open(os.getenv("REQUESTS"))
local pause = tonumber(os.getenv("PAUSE_MS") or "0")
local refused = 0

function setup(thread)
  worker = thread
end

function init(args)
  math.randomseed(7)
  failed = 0
end

function delay()
  if pause == 0 then
    return 0
  end
  return math.floor(-math.log(1 - math.random()) * pause + 0.5)
end

function request()
  local line = file:read("*l")
  if not line then
    wrk.thread:stop()
    return wrk.format("GET", "/health")
  end
  local headers = { ["content-type"] = "application/json" }
  local left, body = line:match("^(.-)\t\t(.*)$")
  for name, value in left:gmatch("([^\t]+)\t([^\t]+)") do
    headers[name] = value
  end
  return wrk.format("POST", nil, headers, body)
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"p99_us":%.1f,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout
  ))
end
