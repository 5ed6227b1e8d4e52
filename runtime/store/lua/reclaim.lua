-- with: store, follow, finish
-- Recovers what no worker will end: entries whose lease ran out return to the front of their lane, a job that has
-- lost too many workers fails as poison, and one that did not start in time fails as expired. Rings for what waits
-- unheard, and trims the log and the events.
-- ARGV[1]  the sweeper's id
-- ARGV[2]  ms of the lock, so that one sweeper works at a time
-- ARGV[3]  ms of a lease
-- ARGV[4]  the crash limit
-- ARGV[5]  ms that a settled record is kept
-- ARGV[6]  ms that failed jobs are kept for replay
-- ARGV[7]  how many of a function's failed jobs are kept for replay
-- ARGV[8]  msgpack [Scan, …]
-- reply    false while another sweeper works, else {{each lane's next cursor, …},
--          {Found, …},
--          {id of a job whose staged jobs have not all been started, …}}
local me, lock_ms, lease, limit, keep = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local dead_bounds = {tonumber(ARGV[6]), tonumber(ARGV[7])}
local lock = lock_key('reclaim')
local holder = call('GET', lock)
if holder and holder ~= me then return false end
call('SET', lock, me, 'PX', lock_ms)

local now = now_ms()
promote(now) -- a worker that was rung for what is due may have died
call('XTRIM', LOG, 'MINID', '~', now - keep)
call('XTRIM', EVENTS, 'MINID', '~', now - 60000)
local cursors, found, paused = {}, {}, {}
for _, name in ipairs(call('SMEMBERS', PAUSED)) do paused[name] = true end

local function fail(record, id, type, extras, name, message)
  call('HSET', record, 'status', 'failed', 'finished', now, 'error', cmsgpack.pack({type = name, message = message}))
  call('HDEL', record, 'run_at')
  finish(record, id, type, 'failed', now, extras, kept(extras, keep), dead_bounds)
  return 'failed'
end

local function report(id, type, lane, attempt, worker, verdict)
  if verdict == 'poison' or verdict == 'expired' then tally('failed', type, lane) end
  found[#found + 1] = {id, type, lane, attempt, worker, verdict} -- Found
end

-- Whoever held an entry has not renewed its lease.
local function recover(key, type, lane, entry, id)
  local record = job_key(id)
  local status, attempt, worker, crashes, busy, extras = fields(record, 'status', 'attempt', 'worker', 'crashes', 'busy',
    'extras')
  if status ~= 'running' and status ~= 'cancelling' then
    -- a pending job was handed back and is not yet taken again; any other has no use for its entry
    if status ~= 'pending' then delete_entry(key, entry) end
    return
  end
  local history, started, version = fields(record, 'history', 'started', 'version')
  attempt, started, version, crashes = tonumber(attempt), tonumber(started), version or '', (tonumber(crashes) or 0) + 1
  local message = 'worker ' .. worker .. ' was lost: it did not renew its lease for ' .. lease / 1000 .. ' s'
  local error = cmsgpack.pack({type = 'WorkerLost', message = message, silent_ms = lease})
  local ended, outcome = now, 'lost'
  local past = cmsgpack.pack({attempt, started, ended, outcome, worker, error, version}) -- Past
  call('HSET', record, 'crashes', crashes, 'updated', now, 'history', (history or '') .. past)
  local verdict, new_status = 'retry', 'pending'
  if status == 'cancelling' then
    verdict, new_status = 'cancelled', 'cancelled'
    call('HSET', record, 'status', new_status, 'finished', now)
    finish(record, id, type, new_status, now, extras, kept(extras, keep), dead_bounds)
  elseif crashes >= limit then
    verdict = 'poison'
    new_status = fail(record, id, type, extras, 'Poison', crashes .. ' workers died running it; the last was ' .. worker)
  else
    call('HSET', record, 'status', 'pending')
    call('HINCRBY', record, 'spared', 1)
  end
  if verdict ~= 'retry' then delete_entry(key, entry) end
  leave_limit(busy, id, type)
  event(id, type, new_status, attempt)
  report(id, type, lane, attempt, worker, verdict)
end

for i, item in ipairs(cmsgpack.unpack(ARGV[8])) do
  local type, lane, cursor = unpack(item) -- Scan
  local key = lane_key(type, lane)
  local reply = with_group(type, lane, {'XAUTOCLAIM', key, GROUP, BACK, lease, cursor, 'COUNT', 100})
  cursors[i] = reply[1]
  for _, entry in ipairs(reply[2]) do recover(key, type, lane, entry[1], entry[2][2]) end
  if #reply[2] > 0 then hand_back(type, lane) end
  -- a worker that died between hearing the bell and taking would leave the work unheard
  if not (paused['*'] or paused['function:' .. type] or paused['lane:' .. lane])
    and call('ZSCORE', ready_key(lane), type) then
    ring(type)
  end
end

-- if a limit was raised or removed, or its next job withdrawn, what is parked behind it must not wait forever
for _, name in ipairs(call('SRANDMEMBER', PARKS, 100)) do
  if call('EXISTS', parked_key(name)) == 0 then
    call('SREM', PARKS, name)
  elseif call('SCARD', busy_key(name)) == 0 then
    unpark(name)
  end
end

for _, id in ipairs(call('ZRANGE', EXPIRY, '-inf', now, 'BYSCORE', 'LIMIT', 0, 200)) do
  local record = job_key(id)
  local status, type, lane, extras, attempt = fields(record, 'status', 'type', 'lane', 'extras', 'attempt')
  call('ZREM', EXPIRY, id)
  if (status == 'pending' or status == 'scheduled') and not attempt then
    withdraw(record, id)
    local new_status = fail(record, id, type, extras, 'Expired', 'the job expired before it started')
    event(id, type, new_status, 0)
    report(id, type, lane, 0, '', 'expired')
  end
end
tell_events()
return {cursors, found, call('SRANDMEMBER', STARTING, 10)}
