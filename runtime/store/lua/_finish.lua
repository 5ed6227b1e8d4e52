-- What a job's end brings with it, whichever script ends it.

-- One of the jobs that a follow-up waits for has settled, for the first time; the last of them starts it.
local function count_down(parent, id, now)
  local join = join_key(parent)
  if call('HDEL', join, id) == 0 or call('HLEN', join) > 1 then return end
  local job = cmsgpack.unpack(call('HGET', join, 'job'))
  call('DEL', join)
  local ids = store_children(parent, {job}, now)
  local record = job_key(parent)
  if ids[1] and call('EXISTS', record) == 1 then
    call('HSET', record, 'children', (call('HGET', record, 'children') or '') .. cmsgpack.pack(ids[1]))
  end
end

-- Starts what a settled job starts: `children`, which its last attempt asked for; `follow`, its follow-ups; and
-- `after`, which waits until all children have settled. `staged`: true if more children are staged in parts, which
-- start.lua starts part by part; until then they count as one child that has not settled.
local UNSTARTED = '+'
local function start_children(record, id, now, children, after, follow, staged)
  local ids = children and store_children(id, children, now) or {}
  local join = {}
  for i, child in ipairs(ids) do join[i] = child end
  if staged then
    call('PERSIST', staged_key(id))
    call('SADD', STARTING, id)
    join[#join + 1] = UNSTARTED
  end
  for _, other in ipairs(follow and store_children(id, follow, now) or {}) do ids[#ids + 1] = other end
  if after and #join > 0 then
    call('HSET', join_key(id), 'job', cmsgpack.pack(after))
    for _, child in ipairs(join) do call('HSET', join_key(id), child, '') end
  elseif after then
    ids[#ids + 1] = store_children(id, {after}, now)[1]
  end
  local packed = {}
  for i, child in ipairs(ids) do packed[i] = cmsgpack.pack(child) end
  if #ids > 0 then call('HSET', record, 'children', (call('HGET', record, 'children') or '') .. table.concat(packed)) end
end

-- Marks a job that got a new id, so that its follow-ups get new ids too. A duplicate has no record to mark.
local function mark_again(record)
  if call('EXISTS', record) == 1 then call('HSET', record, 'again', 1) end
end

-- What a job has emitted and logged stays as long as its record.
local function keep_as_long(id, keep)
  call('PEXPIRE', output_key(id), text(keep))
  call('PEXPIRE', lines_key(id), text(keep))
end

-- The job's new status, result or error have been written. `extras`: as its record has them, or false. `keep`: ms that
-- the record stays. `dead_bounds`: {ms, count} of the failed jobs that are kept for replay.
-- `children`, `after`, `staged`: what a completed attempt starts, or nil.
local function finish(record, id, type, status, now, extras, keep, dead_bounds, children, after, staged)
  extras = extras and cmsgpack.unpack(extras) or {}
  if extras.unique then
    local key = unique_key(type, extras.unique)
    if call('GET', key) == id then call('DEL', key) end
  end
  local follow, anew = nil, {}
  if extras['then'] then follow, anew = followers(record, id, status, now, extras['then'], extras.secret) end
  if children or after or staged or follow then start_children(record, id, now, children, after, follow, staged) end
  for _, child in ipairs(anew) do mark_again(job_key(child)) end
  if extras.join then count_down(extras.join, id, now) end
  if status == 'failed' then
    local dead = dead_key(type)
    keep = math.max(keep, dead_bounds[1])
    call('ZADD', dead, now, id)
    call('ZREMRANGEBYSCORE', dead, '-inf', now - dead_bounds[1])
    call('ZREMRANGEBYRANK', dead, 0, -1 - dead_bounds[2])
    call('PEXPIRE', dead, dead_bounds[1])
  end
  if status ~= 'completed' then keep_as_long(id, keep) end
  tag_settled(extras.tags, id, now, keep)
  expire_settled(record, id, keep)
end

-- ms that a settled record stays where no worker has ended it: as its function said when it was stored.
local function kept(extras, keep)
  return extras and cmsgpack.unpack(extras).keep or keep
end

-- Removes a job that is not running from wherever it waits.
local function withdraw(record, id)
  local type, lane, entry, expires, parked = fields(record, 'type', 'lane', 'entry', 'expires', 'parked')
  call('ZREM', DUE, id)
  if entry then delete_entry(lane_key(type, lane), entry) end
  if expires then call('ZREM', EXPIRY, id) end
  if parked then unpark(parked) end -- it may have been the one whose turn it was
end
