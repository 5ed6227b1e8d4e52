-- with: store, follow, finish
-- Starts a part of the jobs that a completed job has staged. Each part is started once, however often this is called.
-- ARGV[1]  the id of the job
-- reply    how many parts are left
local id, now = ARGV[1], now_ms()
local staged, record, join = staged_key(id), job_key(id), join_key(ARGV[1])
if call('SISMEMBER', STARTING, id) == 0 then return 0 end
local part = call('LINDEX', staged, 0)
if part then
  -- a server at its maxmemory refuses the first write here, and the part stays
  local ids = store_children(id, cmsgpack.unpack(part), now)
  call('LPOP', staged)
  local packed, waits = {}, call('EXISTS', join) == 1
  for i, child in ipairs(ids) do
    packed[i] = cmsgpack.pack(child)
    if waits then call('HSET', join, child, '') end
  end
  if call('EXISTS', record) == 1 then
    call('HSET', record, 'children', (call('HGET', record, 'children') or '') .. table.concat(packed))
  end
end
local left = call('LLEN', staged)
if left == 0 then
  call('SREM', STARTING, id)
  if call('EXISTS', join) == 1 then count_down(id, UNSTARTED, now) end
end
tell_events()
return left
