-- with: store, finish
-- Ends attempts. Only the attempt that runs, by the worker that holds it, changes anything.
-- ARGV[1]  the worker's id
-- ARGV[2]  ms that failed jobs are kept for replay
-- ARGV[3]  how many of a function's failed jobs are kept for replay
-- ARGV[4]  msgpack [[id, type, lane, entry, attempt, outcome, value, delay, keep, more, busy, children, after,
--          progress, staged], …]
--          value: the result (completed) or the error (retry, failed, lost), packed; else ''
--          delay: ms until a retry is due; else 0
--          keep: ms that the settled record is kept
--          more: true where its record has `more`, else nil
--          busy: the name of the limit that the attempt counts for, or nil
--          children: jobs that start if it completed, or nil; after: one that starts when they have settled, or nil
--          progress: its last report, packed, where the record may not have it; or nil
--          staged: how many parts of further jobs it has staged, or nil
-- ARGV[5]  the crash limit
-- reply    {1 where the attempt ended, 2 where it ended as cancelled, 0 where it was no longer this worker's, …}
local worker, limits = ARGV[1], {tonumber(ARGV[2]), tonumber(ARGV[3])}
write_without_memory()
local now = now_ms()
local replies, gone = {}, {}

-- The attempts so far and this one, each packed, one after the other.
local function history(record, attempt, outcome, error)
  local past = call('HMGET', record, 'history', 'started', 'version')
  return (past[1] or '')
    .. cmsgpack.pack({attempt, tonumber(past[2]), now, outcome, worker, error, past[3] or ''})
end

-- Each ends an attempt in the record; returns the status that the job has then.
local ends = {}

function ends.completed(record, id, item, more)
  call('HSET', record, 'status', 'completed', 'result', item[7], 'finished', text(now))
  if item[5] > 1 then call('HDEL', record, 'error', 'run_at') end
  if more or item[12] or item[13] or item[15] then
    finish(record, id, item[2], 'completed', now, more, item[9], limits, item[12], item[13], item[15])
  else
    call('PEXPIRE', record, text(item[9]))
  end
  return 'completed'
end

function ends.failed(record, id, item, more)
  call('HSET', record, 'status', 'failed', 'error', item[7], 'finished', text(now))
  call('HDEL', record, 'run_at')
  finish(record, id, item[2], 'failed', now, more, item[9], limits)
  return 'failed'
end

function ends.cancelled(record, id, item, more)
  call('HSET', record, 'status', 'cancelled', 'finished', text(now))
  call('HDEL', record, 'run_at')
  finish(record, id, item[2], 'cancelled', now, more, item[9], limits)
  return 'cancelled'
end

function ends.retry(record, id, item)
  local due = now + item[8]
  call('HSET', record, 'status', 'scheduled', 'error', item[7], 'run_at', due, 'updated', now, 'history',
    history(record, item[5], 'retry', item[7]))
  call('HDEL', record, 'entry')
  to_due(id, item[2], due)
  return 'scheduled'
end

local function back_to_lane(record, item, outcome, error)
  local type, lane = item[2], item[3]
  with_group(type, lane, {'XCLAIM', lane_key(type, lane), GROUP, BACK, 0, item[4], 'FORCE', 'JUSTID'})
  call('HSET', record, 'status', 'pending', 'updated', now, 'history', history(record, item[5], outcome, error))
  call('HINCRBY', record, 'spared', 1)
  hand_back(type, lane)
  return 'pending'
end

function ends.released(record, id, item) return back_to_lane(record, item, 'released', '') end

-- Something that it shares with its neighbours died under it. It may be the one that killed it, so that counts as
-- losing a worker does.
function ends.lost(record, id, item, more)
  local crashes = call('HINCRBY', record, 'crashes', 1)
  if crashes < tonumber(ARGV[5]) then return back_to_lane(record, item, 'lost', item[7]) end
  item[7] = cmsgpack.pack({type = 'Poison', message = crashes .. ' times what runs it died with it'})
  return ends.failed(record, id, item, more)
end

for i, item in ipairs(cmsgpack.unpack(ARGV[4])) do
  local id, type, attempt, outcome = item[1], item[2], item[5], item[6]
  local record = job_key(id)
  local job = call('HMGET', record, 'status', 'attempt', 'worker')
  local cancelled, staged = job[1] == 'cancelling', item[15]
  if cancelled then outcome = 'cancelled' end
  if (job[1] == 'running' or cancelled) and tonumber(job[2]) == attempt and job[3] == worker
    and not (staged and outcome == 'completed' and call('LLEN', staged_key(id)) ~= staged) then
    if staged and outcome ~= 'completed' then call('UNLINK', staged_key(id)) end
    if item[14] then call('HSET', record, 'progress', item[14]) end
    local more = item[10] and call('HGET', record, 'more')
    local status = ends[outcome](record, id, item, more)
    event(id, type, status, attempt)
    if status ~= 'pending' then
      local key = lane_key(type, item[3])
      local entries = gone[key]
      if not entries then
        entries = {}
        gone[key] = entries
      end
      entries[#entries + 1] = item[4]
    end
    leave_limit(item[11], id, type)
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
