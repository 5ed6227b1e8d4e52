-- Changes when a scheduled job starts.
-- ARGV[1]  its id
-- ARGV[2]  the Unix ms at which it may start, or '' for ARGV[3]
-- ARGV[3]  ms from now
-- reply    the status before, or false where there is no such job; only a scheduled one is changed
local id, now = ARGV[1], now_ms()
local record = job_key(id)
local status, type, lane, attempt = fields(record, 'status', 'type', 'lane', 'attempt')
local due = tonumber(ARGV[2]) or now + tonumber(ARGV[3])
if status == 'scheduled' then
  local ttl = not attempt and call('HGET', record, 'ttl')
  if ttl then -- it counts from when the job may start
    local expires = math.max(due, now) + ttl
    call('HSET', record, 'expires', expires)
    call('ZADD', EXPIRY, expires, id)
  end
  if due > now then
    call('HSET', record, 'run_at', due, 'updated', now)
    event(id, type, 'scheduled', tonumber(attempt) or 0)
    to_due(id, type, due)
  else
    call('HSET', record, 'run_at', now)
    call('ZREM', DUE, id)
    to_lane(record, id, type, lane, now, tonumber(attempt) or 0)
  end
end
tell_events()
return status
