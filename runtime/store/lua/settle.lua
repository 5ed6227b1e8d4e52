-- Ends attempts. Only the attempt that runs, by the worker that holds it, changes anything.
-- ARGV[1]  the worker's id
-- ARGV[2]  ms that a settled record is kept
-- ARGV[3]  msgpack [[id, type, lane, entry, attempt, outcome, value, delay], …]
--          value: the result (completed) or the error (retry, failed), packed; else ''
--          delay: ms until a retry is due; else 0
-- reply    {1 where the attempt ended so, 0 where it was no longer this worker's, …}
local worker, keep = ARGV[1], ARGV[2]
-- A server at its maxmemory refuses a script whose first write needs memory, and lets all later writes
-- through: settling frees more than it takes.
call('DEL', root .. ':nothing')
local now = now_ms()
local replies, gone = {}, {}

-- The attempts so far and this one, each packed, one after the other.
local function history(record, attempt, outcome, error)
  local past = call('HMGET', record, 'history', 'started')
  return (past[1] or '') .. cmsgpack.pack({attempt, tonumber(past[2]), now, outcome, worker, error})
end

-- Each ends an attempt in the record; returns the status that the job has then.
local ends = {}

function ends.completed(record, id, item)
  call('HSET', record, 'status', 'completed', 'result', item[7], 'finished', now)
  if item[5] > 1 then call('HDEL', record, 'error', 'run_at') end
  call('PEXPIRE', record, keep)
  return 'completed'
end

function ends.failed(record, id, item)
  call('HSET', record, 'status', 'failed', 'error', item[7], 'finished', now)
  call('HDEL', record, 'run_at')
  call('PEXPIRE', record, keep)
  return 'failed'
end

function ends.retry(record, id, item)
  local due = now + item[8]
  call('HSET', record, 'status', 'scheduled', 'error', item[7], 'run_at', due, 'updated', now, 'history',
    history(record, item[5], 'retry', item[7]))
  call('ZADD', DUE, due, id)
  -- an idle worker sleeps until the next job that it knew to be due
  if call('ZRANGE', DUE, 0, 0)[1] == id then ring(item[2]) end
  return 'scheduled'
end

function ends.released(record, id, item)
  local key = lane_key(item[2], item[3])
  call('XCLAIM', key, GROUP, BACK, 0, item[4], 'JUSTID')
  call('HSET', record, 'status', 'pending', 'updated', now, 'history', history(record, item[5], 'released', ''))
  call('HINCRBY', record, 'spared', 1)
  hand_back(item[2], item[3])
  return 'pending'
end

for i, item in ipairs(cmsgpack.unpack(ARGV[3])) do
  local id, type, attempt, outcome = item[1], item[2], item[5], item[6]
  local record = job_key(id)
  local job = call('HMGET', record, 'status', 'attempt', 'worker')
  if job[1] == 'running' and tonumber(job[2]) == attempt and job[3] == worker then
    event(id, type, ends[outcome](record, id, item), attempt)
    if outcome ~= 'released' then
      local key = lane_key(type, item[3])
      local entries = gone[key]
      if not entries then
        entries = {}
        gone[key] = entries
      end
      entries[#entries + 1] = item[4]
    end
    replies[i] = 1
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
