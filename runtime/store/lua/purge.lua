-- with: store, finish
-- Deletes failed jobs for good.
-- ARGV[1]  msgpack [[type, id], …]
-- reply    how many were deleted
local deleted = 0
for _, item in ipairs(cmsgpack.unpack(ARGV[1])) do
  local record = job_key(item[2])
  call('ZREM', dead_key(item[1]), item[2])
  if call('HGET', record, 'status') == 'failed' then deleted = deleted + call('DEL', record) end
end
return deleted
