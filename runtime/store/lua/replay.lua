-- with: store, follow, finish
-- Runs failed jobs once more: each keeps its id, payload and history, and starts with fresh attempts.
-- ARGV[1]  msgpack [Again, …]
-- reply    {'replayed', 'duplicate' (an equal job lives), or the status that is not failed, or false (no such job), …}
local now = now_ms()
local replies = {}

-- The history with the last attempt, which is in it already if the sweeper, and not settle.lua, ended that attempt.
local function whole_history(record)
  local past, attempt, started, ended, worker, error, version = fields(record, 'history', 'attempt', 'started',
    'finished', 'worker', 'error', 'version')
  past, attempt = past or '', tonumber(attempt)
  if not attempt then return past end
  local rows = {cmsgpack.unpack(past ~= '' and past or cmsgpack.pack({0}))}
  local last = rows[#rows][1]
  if last == attempt then return past end
  started, ended = tonumber(started), tonumber(ended)
  local outcome = 'failed'
  worker, version = worker or '', version or ''
  return past .. cmsgpack.pack({attempt, started, ended, outcome, worker, error, version}) -- Past
end

local function replay(id, delay)
  local record = job_key(id)
  local status, type, lane, attempt, extras = fields(record, 'status', 'type', 'lane', 'attempt', 'extras')
  if status ~= 'failed' then return status end
  attempt = tonumber(attempt) or 0
  local unpacked = extras and cmsgpack.unpack(extras) or {}
  local unique = unpacked.unique
  if unique then
    if live_duplicate(type, unique) then return 'duplicate' end
    call('SET', unique_key(type, unique), id)
  end
  call('HSET', record, 'history', whole_history(record), 'spared', attempt, 'updated', now)
  call('HDEL', record, 'finished', 'error', 'crashes', 'expires', 'cancel_at', 'progress', 'entry', 'busy')
  call('PERSIST', record)
  tag_living(unpacked.tags, id)
  call('ZREM', dead_key(type), id)
  if delay > 0 then
    call('HSET', record, 'status', 'scheduled', 'run_at', now + delay)
    event(id, type, 'scheduled', attempt)
    to_due(id, type, now + delay)
  else
    to_lane(record, id, type, lane, now, attempt)
  end
  return 'replayed'
end

for i, item in ipairs(cmsgpack.unpack(ARGV[1])) do
  local id, delay = unpack(item) -- Again
  replies[i] = replay(id, delay)
end
tell_events()
return replies
