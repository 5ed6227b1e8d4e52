-- with: store
-- Deletes settled jobs for good.
-- ARGV[1]  msgpack [id, …]
-- reply    {1 where it was deleted, 0 where there is none, -1 where it has not settled, …}
local settled = {completed = true, failed = true, cancelled = true}
local replies = {}
for i, id in ipairs(cmsgpack.unpack(ARGV[1])) do
  local record = job_key(id)
  local type, status, extras = fields(record, 'type', 'status', 'extras')
  if settled[status] then
    for digest in pairs(extras and cmsgpack.unpack(extras).tags or {}) do call('ZREM', tag_key(digest), id) end
    call('ZREM', dead_key(type), id)
    call('UNLINK', output_key(id), lines_key(id))
    call('DEL', record)
  end
  replies[i] = settled[status] and 1 or status and -1 or 0
end
return replies
