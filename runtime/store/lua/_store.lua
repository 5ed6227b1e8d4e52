-- Storing new jobs, as `store/rows.py` has them: NewJob.

-- A tag's index scores a living job with LIVES, and a settled one with the time its record expires (Unix ms).
local LIVES = '+inf'
local function tag_living(tags, id)
  for digest in pairs(tags or {}) do
    call('ZADD', tag_key(digest), LIVES, id)
    call('PERSIST', tag_key(digest))
  end
end

local function tag_settled(tags, id, now, keep)
  for digest in pairs(tags or {}) do
    local key = tag_key(digest)
    call('ZADD', key, now + keep, id)
    call('ZREMRANGEBYSCORE', key, '-inf', now)
    local last = call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]
    if last and last ~= 'inf' then call('PEXPIREAT', key, last) end
  end
end

-- An entry of the log has the ms in which its job was made; a clock that was set back gets the next one that is free.
local function to_log(id, type, now)
  local logged = redis.pcall('XADD', LOG, text(now) .. '-*', 'job', id, 'type', type)
  if logged.err then call('XADD', LOG, '*', 'job', id, 'type', type) end
end

local function store(job, now, parent)
  local id, type, lane, payload, max_attempts, terms, extras = unpack(job, 1, 7) -- NewJob
  local record = job_key(id)
  to_log(id, type, now)
  tally('stored', type, lane)
  if not terms and not extras and not parent then -- nearly all jobs
    local entry = call('XADD', lane_key(type, lane), '*', 'job', id)
    call('HSET', record, 'type', type, 'lane', lane, 'status', 'pending', 'payload', payload, 'max_attempts',
      text(max_attempts), 'created', text(now), 'entry', entry)
    event(id, type, 'pending', 0)
    return
  end
  terms = terms or {}
  local due = terms.delay and now + terms.delay or terms.run_at or now
  local expires = terms.ttl and math.max(due, now) + terms.ttl or terms.start_before
  call('HSET', record, 'type', type, 'lane', lane, 'payload', payload, 'max_attempts', max_attempts, 'created', now)
  if extras then
    call('HSET', record, 'extras', extras)
    local unpacked = cmsgpack.unpack(extras)
    if unpacked.unique then call('SET', unique_key(type, unpacked.unique), id) end
    tag_living(unpacked.tags, id)
  end
  if parent then call('HSET', record, 'parent', parent) end
  if expires then
    call('HSET', record, 'expires', expires)
    if terms.ttl then call('HSET', record, 'ttl', terms.ttl) end
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
local function live_duplicate(type, unique)
  local other = call('GET', unique_key(type, unique))
  return other and LIVE[call('HGET', job_key(other), 'status')] and other
end

-- Jobs that another starts, in its shard; one with an equal job that lives is left out. Returns their ids.
local function store_children(parent, jobs, now)
  local ids = {}
  for _, job in ipairs(jobs) do
    local id, type, _, _, _, _, extras = unpack(job, 1, 7) -- NewJob
    local unique = extras and cmsgpack.unpack(extras).unique
    if not (unique and live_duplicate(type, unique)) then
      store(job, now, parent)
      ids[#ids + 1] = id
    end
  end
  return ids
end
