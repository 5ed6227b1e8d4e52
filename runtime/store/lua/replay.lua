-- with: store, finish
-- Runs failed jobs once more: each keeps its id, payload and history, and starts with fresh attempts.
-- ARGV[1]  msgpack [[id, ms until it may start], …]
-- reply    {'replayed', 'twin' (an equal job lives), or the status that is not failed, or false (no such job), …}
local now = now_ms()
local replies = {}

-- The last attempt is in the history already where something else than its settling ended the job.
local function whole_history(job)
  local past, attempt = job[3] or '', tonumber(job[4])
  if not attempt then return past end
  local all = {cmsgpack.unpack(past ~= '' and past or cmsgpack.pack({0}))}
  if all[#all][1] == attempt then return past end
  return past .. cmsgpack.pack({attempt, tonumber(job[5]), tonumber(job[6]), 'failed', job[7] or '', job[8],
    job[11] or ''})
end

local function replay(id, delay)
  local record = job_key(id)
  local job = call('HMGET', record, 'status', 'type', 'history', 'attempt', 'started', 'finished', 'worker', 'error',
    'lane', 'more', 'version')
  if job[1] ~= 'failed' then return job[1] end
  local type = job[2]
  local unique = job[10] and cmsgpack.unpack(job[10]).unique
  if unique then
    if twin(type, unique) then return 'twin' end
    call('SET', unique_key(type, unique), id)
  end
  call('HSET', record, 'history', whole_history(job), 'spared', tonumber(job[4]) or 0, 'updated', now)
  call('HDEL', record, 'finished', 'error', 'crashes', 'expires', 'cancel_at', 'progress', 'entry', 'busy')
  call('PERSIST', record)
  call('ZREM', dead_key(type), id)
  if delay > 0 then
    call('HSET', record, 'status', 'scheduled', 'run_at', now + delay)
    event(id, type, 'scheduled', tonumber(job[4]) or 0)
    to_due(id, type, now + delay)
  else
    to_lane(record, id, type, job[9], now, tonumber(job[4]) or 0)
  end
  return 'replayed'
end

for i, item in ipairs(cmsgpack.unpack(ARGV[1])) do replies[i] = replay(item[1], item[2]) end
tell_events()
return replies
