-- Extends the leases of attempts that still are this worker's: an entry's idle time is its lease.
-- ARGV[1]  the worker's id
-- ARGV[2]  msgpack [[id, type, lane, entry, attempt], …]
-- reply    {the index from 1 of each attempt that is no longer this worker's, …}
local worker = ARGV[1]
local lost = {}
for i, item in ipairs(cmsgpack.unpack(ARGV[2])) do
  local job = call('HMGET', job_key(item[1]), 'status', 'attempt', 'worker')
  if job[1] == 'running' and tonumber(job[2]) == item[5] and job[3] == worker then
    call('XCLAIM', lane_key(item[2], item[3]), GROUP, HELD, 0, item[4], 'JUSTID')
  else
    lost[#lost + 1] = i
  end
end
return lost
