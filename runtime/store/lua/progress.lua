-- Shows how far attempts are.
-- ARGV[1]  the worker's id
-- ARGV[2]  msgpack [Report, …]
-- reply    how many were written; one that is no longer this worker's is not
local worker = ARGV[1]
local now = now_ms()
local written = 0
for _, item in ipairs(cmsgpack.unpack(ARGV[2])) do
  local id, type, attempt, progress = unpack(item) -- Report
  local record = job_key(id)
  local status, running, holder = fields(record, 'status', 'attempt', 'worker')
  if (status == 'running' or status == 'cancelling') and tonumber(running) == attempt and holder == worker then
    call('HSET', record, 'progress', progress, 'updated', now)
    event(id, type, 'progress', attempt)
    written = written + 1
  end
end
tell_events()
return written
