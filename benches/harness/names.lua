-- wrk's side of a round. Without arguments wrk sends its one request; with `PATH COUNT` each request takes the
-- next of COUNT names in a scattered order. `done` prints what the driver reads, as one line of JSON.

local threads = 0

function setup(thread)
  thread:set("offset", threads)
  threads = threads + 1
end

function init(args)
  if #args == 0 then return end
  local path, count = args[1], tonumber(args[2])
  local requests = {}
  for name = 0, count - 1 do
    requests[name] = wrk.format("GET", string.format("%s%02x/%d", path, name % 256, name))
  end
  -- A step near the golden section and prime to COUNT visits every name before it visits one again; each thread
  -- begins elsewhere.
  local function common(a, b)
    while b ~= 0 do a, b = b, a % b end
    return a
  end
  local step = math.max(1, math.floor(count * 0.618034))
  while common(step, count) ~= 1 do step = step - 1 end
  local at = math.floor(count / 2) * offset
  function request()
    at = (at + step) % count
    return requests[at]
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"errors":%d,"p99_us":%f}\n',
    summary.requests, summary.duration / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout, latency:percentile(99)))
end
