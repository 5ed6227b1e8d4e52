-- Extends the leases of attempts that still are this worker's: an entry's idle time is its lease.
-- ARGV[1]  the worker's id
-- ARGV[2]  msgpack [[id, type, lane, entry, attempt], …]
-- reply    {{the index from 1 of each attempt that is no longer this worker's, …}, {of each to be cancelled, …}}
local worker = ARGV[1]
write_without_memory()
local lost, cancelled = {}, {}
for i, item in ipairs(cmsgpack.unpack(ARGV[2])) do
  local job = call('HMGET', job_key(item[1]), 'status', 'attempt', 'worker')
  local cancelling = job[1] == 'cancelling'
  if (job[1] == 'running' or cancelling) and tonumber(job[2]) == item[5] and job[3] == worker then
    local type, lane = item[2], item[3]
    with_group(type, lane, {'XCLAIM', lane_key(type, lane), GROUP, HELD, 0, item[4], 'FORCE', 'JUSTID'})
    if cancelling then cancelled[#cancelled + 1] = i end
  else
    lost[#lost + 1] = i
  end
end
return {lost, cancelled}
