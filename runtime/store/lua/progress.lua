-- Shows how far attempts are.
-- ARGV[1]  the worker's id
-- ARGV[2]  msgpack [[id, type, attempt, progress], …], progress packed
-- reply    how many were written; one that is no longer this worker's is not
local worker = ARGV[1]
local now = now_ms()
local written = 0
for _, item in ipairs(cmsgpack.unpack(ARGV[2])) do
  local record = job_key(item[1])
  local job = call('HMGET', record, 'status', 'attempt', 'worker')
  if (job[1] == 'running' or job[1] == 'cancelling') and tonumber(job[2]) == item[3] and job[3] == worker then
    call('HSET', record, 'progress', item[4], 'updated', now)
    event(item[1], item[2], 'progress', item[3])
    written = written + 1
  end
end
tell_events()
return written
