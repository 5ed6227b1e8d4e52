-- with: store, follow, finish, emitted
-- Ends attempts. Only the attempt that runs, by the worker that holds it, changes anything.
-- ARGV[1]  the worker's id
-- ARGV[2]  ms that failed jobs are kept for replay
-- ARGV[3]  how many of a function's failed jobs are kept for replay
-- ARGV[4]  msgpack [Ended, …]
-- ARGV[5]  the crash limit
-- ARGV[6]  ms that what attempts emit is kept while their job goes on
-- reply    {1 where the attempt ended, 2 where it ended as cancelled, 0 where it was no longer this worker's, or
--          parts that it staged are gone, …}
local ID, TYPE, LANE, ENTRY, ATTEMPT, OUTCOME, VALUE, DELAY, KEEP = 1, 2, 3, 4, 5, 6, 7, 8, 9 -- Ended
local HAS_EXTRAS, BUSY, CHILDREN, AFTER, PROGRESS, STAGED, EMITTED = 10, 11, 12, 13, 14, 15, 16 -- Ended
local worker, dead_bounds = ARGV[1], {tonumber(ARGV[2]), tonumber(ARGV[3])}
write_without_memory()
local now = now_ms()
local replies, gone = {}, {}

-- The attempts so far and this one, each packed, one after the other.
local function with_past(record, attempt, outcome, error)
  local history, started, version = fields(record, 'history', 'started', 'version')
  started, version = tonumber(started), version or ''
  local ended = now
  return (history or '') .. cmsgpack.pack({attempt, started, ended, outcome, worker, error, version}) -- Past
end

-- Each ends an attempt in the record; returns the status that the job has then.
local ends = {}

function ends.completed(record, id, item, extras)
  call('HSET', record, 'status', 'completed', 'result', item[VALUE], 'finished', text(now))
  if item[ATTEMPT] > 1 then call('HDEL', record, 'error', 'run_at') end
  if item[ATTEMPT] > 1 or item[EMITTED] then keep_as_long(id, item[KEEP]) end
  if extras or item[CHILDREN] or item[AFTER] or item[STAGED] then
    finish(record, id, item[TYPE], 'completed', now, extras, item[KEEP], dead_bounds, item[CHILDREN], item[AFTER], item[STAGED])
  else
    expire_settled(record, id, item[KEEP])
  end
  return 'completed'
end

function ends.failed(record, id, item, extras)
  call('HSET', record, 'status', 'failed', 'error', item[VALUE], 'finished', text(now))
  call('HDEL', record, 'run_at')
  finish(record, id, item[TYPE], 'failed', now, extras, item[KEEP], dead_bounds)
  return 'failed'
end

function ends.cancelled(record, id, item, extras)
  call('HSET', record, 'status', 'cancelled', 'finished', text(now))
  call('HDEL', record, 'run_at')
  finish(record, id, item[TYPE], 'cancelled', now, extras, item[KEEP], dead_bounds)
  return 'cancelled'
end

function ends.retry(record, id, item)
  local due = now + item[DELAY]
  call('HSET', record, 'status', 'scheduled', 'error', item[VALUE], 'run_at', due, 'updated', now, 'history',
    with_past(record, item[ATTEMPT], 'retry', item[VALUE]))
  call('HDEL', record, 'entry')
  to_due(id, item[TYPE], due)
  return 'scheduled'
end

local function back_to_lane(record, item, outcome, error)
  local type, lane = item[TYPE], item[LANE]
  with_group(type, lane, {'XCLAIM', lane_key(type, lane), GROUP, BACK, 0, item[ENTRY], 'FORCE', 'JUSTID'})
  call('HSET', record, 'status', 'pending', 'updated', now, 'history', with_past(record, item[ATTEMPT], outcome, error))
  call('HINCRBY', record, 'spared', 1)
  hand_back(type, lane)
  return 'pending'
end

function ends.released(record, id, item) return back_to_lane(record, item, 'released', '') end

-- The fork server, which a worker's attempts in processes share, died under this one. This one may have killed it,
-- so that counts as a crash, as losing a worker does.
function ends.lost(record, id, item, extras)
  local crashes = call('HINCRBY', record, 'crashes', 1)
  if crashes < tonumber(ARGV[5]) then return back_to_lane(record, item, 'lost', item[VALUE]) end
  item[VALUE] = cmsgpack.pack({type = 'Poison', message = 'the process that ran this job crashed ' .. crashes .. ' times'})
  return ends.failed(record, id, item, extras)
end

for i, item in ipairs(cmsgpack.unpack(ARGV[4])) do
  local id, type, attempt, outcome = item[ID], item[TYPE], item[ATTEMPT], item[OUTCOME]
  local record = job_key(id)
  local status, running, holder = fields(record, 'status', 'attempt', 'worker')
  local cancelled, staged = status == 'cancelling', item[STAGED]
  if cancelled then outcome = 'cancelled' end
  if (status == 'running' or cancelled) and tonumber(running) == attempt and holder == worker
    and not (staged and outcome == 'completed' and call('LLEN', staged_key(id)) ~= staged) then
    if staged and outcome ~= 'completed' then call('UNLINK', staged_key(id)) end
    if item[PROGRESS] then call('HSET', record, 'progress', item[PROGRESS]) end
    if item[EMITTED] then
      local _, _, _, chunks, lines = unpack(item[EMITTED]) -- Emitted
      keep_emitted(id, type, attempt, chunks, lines, tonumber(ARGV[6]))
    end
    local extras = item[HAS_EXTRAS] and call('HGET', record, 'extras')
    local new_status = ends[outcome](record, id, item, extras)
    event(id, type, new_status, attempt)
    if new_status == 'completed' or new_status == 'failed' then tally(new_status, type, item[LANE]) end
    if new_status ~= 'pending' then
      local key = lane_key(type, item[LANE])
      local entries = gone[key]
      if not entries then
        entries = {}
        gone[key] = entries
      end
      entries[#entries + 1] = item[ENTRY]
    end
    leave_limit(item[BUSY], id, type)
    replies[i] = cancelled and 2 or 1
  else
    replies[i] = 0
  end
end

for key, entries in pairs(gone) do
  call('XACK', key, GROUP, unpack(entries))
  call('XDEL', key, unpack(entries))
end
tell_events()
return replies
