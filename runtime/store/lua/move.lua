-- Changes when a scheduled job starts.
-- ARGV[1]  its id
-- ARGV[2]  the Unix ms at which it may start, or '' for ARGV[3]
-- ARGV[3]  ms from now
-- reply    the status before, or false where there is no such job; only a scheduled one is changed
local id, now = ARGV[1], now_ms()
local record = job_key(id)
local job = call('HMGET', record, 'status', 'type', 'lane', 'attempt')
local due = tonumber(ARGV[2]) or now + tonumber(ARGV[3])
if job[1] == 'scheduled' then
  local ttl = not job[4] and call('HGET', record, 'ttl')
  if ttl then -- it counts from when the job may start
    local expires = math.max(due, now) + ttl
    call('HSET', record, 'expires', expires)
    call('ZADD', EXPIRY, expires, id)
  end
  if due > now then
    call('HSET', record, 'run_at', due, 'updated', now)
    event(id, job[2], 'scheduled', tonumber(job[4]) or 0)
    to_due(id, job[2], due)
  else
    call('HSET', record, 'run_at', now)
    call('ZREM', DUE, id)
    to_lane(record, id, job[2], job[3], now, tonumber(job[4]) or 0)
  end
end
tell_events()
return job[1]
