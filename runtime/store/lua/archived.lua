-- Takes entries off the archive stream, because history has their jobs.
-- ARGV[1]  msgpack [entry id, …]
-- ARGV[2]  msgpack [Archived, …], of jobs whose records stayed for history alone
-- reply    how many entries were there
local HISTORY = 'history' -- the group of those that write it
local now = now_ms()
local archive, entries = archive_key(), cmsgpack.unpack(ARGV[1])
local settled = {completed = true, failed = true, cancelled = true}

for _, item in ipairs(cmsgpack.unpack(ARGV[2])) do
  local id, finished, shorter = unpack(item) -- Archived
  local record = job_key(id)
  local status, ended = fields(record, 'status', 'finished')
  -- one that was replayed meanwhile is live
  if settled[status] and tonumber(ended) == finished then call('PEXPIRE', record, math.max(1, finished + shorter - now)) end
end
call('XACK', archive, HISTORY, unpack(entries))
return call('XDEL', archive, unpack(entries))
