-- Extends the leases of attempts that still are this worker's: an entry's idle time is its lease.
-- ARGV[1]  the worker's id
-- ARGV[2]  msgpack [Held, …]
-- reply    {{the index from 1 of each attempt that is no longer this worker's, …}, {of each to be cancelled, …}}
local worker = ARGV[1]
write_without_memory()
local lost, cancelled = {}, {}
for i, item in ipairs(cmsgpack.unpack(ARGV[2])) do
  local id, type, lane, entry, attempt = unpack(item) -- Held
  local status, running, holder = fields(job_key(id), 'status', 'attempt', 'worker')
  local cancelling = status == 'cancelling'
  if (status == 'running' or cancelling) and tonumber(running) == attempt and holder == worker then
    with_group(type, lane, {'XCLAIM', lane_key(type, lane), GROUP, HELD, 0, entry, 'FORCE', 'JUSTID'})
    if cancelling then cancelled[#cancelled + 1] = i end
  else
    lost[#lost + 1] = i
  end
end
return {lost, cancelled}
