-- Storing new jobs. A job is
--   [id, type, lane, payload, max_attempts, asks, more]
--   asks  what is said of it once, a map or nil: run_at (Unix ms) or delay (ms); start_before (Unix ms) or
--         ttl (ms, from when it may start)
--   more  what its record keeps, a packed map or nil: timed (it expires), tick (when its schedule names it), backoff, ckey (its concurrency key), unique (a digest),
--         keep (ms that its settled record stays), then (jobs that start when it has completed), join (the job whose follow-up waits for this one)

local function store(job, now, parent)
  local id, type, lane, asks, more = job[1], job[2], job[3], job[6], job[7]
  local record = job_key(id)
  call('XADD', LOG, '*', 'job', id, 'type', type)
  if not asks and not more and not parent then -- nearly all jobs
    local entry = call('XADD', lane_key(type, lane), '*', 'job', id)
    call('HSET', record, 'type', type, 'lane', lane, 'status', 'pending', 'payload', job[4], 'max_attempts',
      text(job[5]), 'created', text(now), 'entry', entry)
    event(id, type, 'pending', 0)
    return
  end
  asks = asks or {}
  local due = asks.delay and now + asks.delay or asks.run_at or now
  local expires = asks.ttl and math.max(due, now) + asks.ttl or asks.start_before
  call('HSET', record, 'type', type, 'lane', lane, 'payload', job[4], 'max_attempts', job[5], 'created', now)
  if more then
    call('HSET', record, 'more', more)
    local unique = cmsgpack.unpack(more).unique
    if unique then call('SET', unique_key(type, unique), id) end
  end
  if parent then call('HSET', record, 'parent', parent) end
  if expires then
    call('HSET', record, 'expires', expires)
    if asks.ttl then call('HSET', record, 'ttl', asks.ttl) end
    call('ZADD', EXPIRY, expires, id)
  end
  if due > now then
    call('HSET', record, 'status', 'scheduled', 'run_at', due)
    event(id, type, 'scheduled', 0)
    to_due(id, type, due)
  else
    to_lane(record, id, type, lane, now, 0)
  end
end

-- The id of the job that has this one's unique key and has not settled, if there is one.
local LIVE = {pending = true, running = true, scheduled = true, cancelling = true}
local function twin(type, unique)
  local other = call('GET', unique_key(type, unique))
  return other and LIVE[call('HGET', job_key(other), 'status')] and other
end

-- Jobs that another starts, in its shard; one with an equal job that lives is left out. Returns their ids.
local function store_children(parent, jobs, now)
  local ids = {}
  for _, job in ipairs(jobs) do
    local unique = job[7] and cmsgpack.unpack(job[7]).unique
    if not (unique and twin(job[2], unique)) then
      store(job, now, parent)
      ids[#ids + 1] = job[1]
    end
  end
  return ids
end
