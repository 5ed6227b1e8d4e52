-- Stores new jobs and puts each in its lane.
-- ARGV[1]  msgpack [[id, type, lane, payload, max_attempts], …]
-- ARGV[2]  ms that the log of jobs reaches back
-- reply    now in ms
local jobs = cmsgpack.unpack(ARGV[1])
local now = now_ms()

-- a caller that lost the reply sends the same batch again
if not call('SET', root .. ':stored:' .. jobs[1][1], now, 'NX', 'PX', 60000) then return now end

local lanes = {}
for _, job in ipairs(jobs) do
  local id, type, lane = job[1], job[2], job[3]
  local name = type .. ':' .. lane
  local key = lanes[name]
  if not key then
    key = lane_key(type, lane)
    lanes[name] = key
    ready(type, lane)
  end
  call('HSET', job_key(id), 'type', type, 'lane', lane, 'status', 'pending', 'payload', job[4],
    'max_attempts', job[5], 'created', now)
  call('XADD', key, '*', 'job', id)
  call('XADD', LOG, '*', 'job', id, 'type', type)
  event(id, type, 'pending', 0)
end
call('XTRIM', LOG, 'MINID', '~', now - ARGV[2])
tell_events()
return now
