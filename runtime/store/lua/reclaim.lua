-- Hands back what lost workers held: entries whose lease ran out return to the front of their lane,
-- and a job that has lost too many workers fails as poison. Rings for what waits unheard.
-- ARGV[1]  the sweeper's id
-- ARGV[2]  ms of the lock, so that one sweeper works at a time
-- ARGV[3]  ms of a lease
-- ARGV[4]  the crash limit
-- ARGV[5]  ms that a settled record is kept
-- ARGV[6]  msgpack [[type, lane, cursor], …]
-- reply    false while another sweeper works, else
--          {{each lane's next cursor, …}, {{id, type, lane, attempt, worker, 'retry' or 'poison'}, …}}
local me, lock_ms, lease, limit, keep = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local lock = root .. ':lock:reclaim'
local holder = call('GET', lock)
if holder and holder ~= me then return false end
call('SET', lock, me, 'PX', lock_ms)

local now = now_ms()
promote(now) -- a worker that was rung for what is due may have died
local cursors, lost = {}, {}

local function lose(key, type, lane, entry, id)
  local record = job_key(id)
  local job = call('HMGET', record, 'status', 'attempt', 'started', 'history', 'worker', 'crashes')
  if job[1] ~= 'running' then
    -- handed back and not yet taken again, or settled; the latter leaves no entry behind
    if job[1] ~= 'pending' then
      call('XACK', key, GROUP, entry)
      call('XDEL', key, entry)
    end
    return
  end
  local attempt, worker = tonumber(job[2]), job[5]
  local crashes = (tonumber(job[6]) or 0) + 1
  local poison = crashes >= limit
  local message = 'worker ' .. worker .. ' was lost: it did not renew its lease for ' .. lease / 1000 .. ' s'
  local error = cmsgpack.pack({type = 'WorkerLost', message = message})
  call('HSET', record, 'crashes', crashes, 'updated', now, 'history', (job[4] or '')
    .. cmsgpack.pack({attempt, tonumber(job[3]), now, 'lost', worker, error}))
  if poison then
    local told = crashes .. ' workers died running it; the last was ' .. worker
    call('HSET', record, 'status', 'failed', 'finished', now, 'error',
      cmsgpack.pack({type = 'Poison', message = told}))
    call('PEXPIRE', record, keep)
    call('XACK', key, GROUP, entry)
    call('XDEL', key, entry)
  else
    call('HSET', record, 'status', 'pending')
    call('HINCRBY', record, 'spared', 1)
  end
  event(id, type, poison and 'failed' or 'pending', attempt)
  lost[#lost + 1] = {id, type, lane, attempt, worker, poison and 'poison' or 'retry'}
end

for i, item in ipairs(cmsgpack.unpack(ARGV[6])) do
  local type, lane = item[1], item[2]
  local key = lane_key(type, lane)
  local reply = with_group(key, {'XAUTOCLAIM', key, GROUP, BACK, lease, item[3], 'COUNT', 100})
  cursors[i] = reply[1]
  for _, entry in ipairs(reply[2]) do lose(key, type, lane, entry[1], entry[2][2]) end
  if #reply[2] > 0 then hand_back(type, lane) end
  -- a worker that died between hearing the bell and taking would leave the work unheard
  if call('ZSCORE', ready_key(lane), type) then ring(type) end
end
tell_events()
return {cursors, lost}
