-- with: store, follow, finish
-- Deletes failed jobs for good.
-- ARGV[1]  msgpack [Deleted, …]
-- reply    how many were deleted
local deleted = 0
for _, item in ipairs(cmsgpack.unpack(ARGV[1])) do
  local type, id = unpack(item) -- Deleted
  local record = job_key(id)
  call('ZREM', dead_key(type), id)
  local status, extras = fields(record, 'status', 'extras')
  if status == 'failed' then
    for digest in pairs(extras and cmsgpack.unpack(extras).tags or {}) do call('ZREM', tag_key(digest), id) end
    call('UNLINK', output_key(id), lines_key(id))
    deleted = deleted + call('DEL', record)
  end
end
return deleted
