-- Gives a worker attempts to run: promotes what is due, then takes from the highest lane down, in
-- each lane from the function that was served longest ago.
-- ARGV[1]  the worker's id
-- ARGV[2]  its free slots, at least 1
-- ARGV[3]  the functions it has, as ',a,b,'
-- ARGV[4]  ms of a lease
-- ARGV[5]  1 if the call was sent ahead, to run when the worker is woken; else 0
-- ARGV[6…] the lanes, highest first
-- reply    {now in ms, ms until the next job is due or -1, 1 if more may be waiting,
--           {{type, lane, entry, id, attempt, payload, max_attempts, created, spared}, …}}
-- `spared`: how many attempts before this one do not count against max_attempts.
local worker, free, serves = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local now = now_ms()
local PAGE, STEP = 32, 32
local BYTES = 4194304

promote(now)

-- A call that was sent ahead runs even if its worker has been stopped since. One that has not been heard
-- of for a lease is given nothing, and another is woken in its place.
local alive = root .. ':alive:' .. worker
if ARGV[5] == '0' then
  call('SET', alive, 1, 'PX', ARGV[4])
elseif call('EXISTS', alive) == 0 then
  for i = 6, #ARGV do
    for _, type in ipairs(call('ZRANGE', ready_key(ARGV[i]), 0, PAGE - 1)) do ring(type) end
  end
  tell_events()
  return {now, -1, 1, {}}
end

local jobs = {}
local bytes = 0 -- of payloads; a reply that takes too long would be lost, and its jobs with it
local backs = call('EXISTS', BACKS) == 1

-- Marks an entry's job as running; an entry without a waiting job is dropped.
local function start(key, type, lane, entry, id)
  local record = job_key(id)
  local job = call('HMGET', record, 'status', 'attempt', 'payload', 'max_attempts', 'created', 'spared')
  if job[1] ~= 'pending' then
    call('XACK', key, GROUP, entry)
    call('XDEL', key, entry)
    return
  end
  local attempt = (tonumber(job[2]) or 0) + 1
  call('HSET', record, 'status', 'running', 'attempt', attempt, 'started', now, 'worker', worker)
  event(id, type, 'running', attempt)
  bytes = bytes + #job[3]
  jobs[#jobs + 1] = {type, lane, entry, id, attempt, job[3], tonumber(job[4]), tonumber(job[5]),
    tonumber(job[6]) or 0}
end

-- Entries that were handed back come first: they were first in line once already.
local function take_back(key, type, lane)
  local want = free - #jobs
  local back = with_group(key, {'XPENDING', key, GROUP, '-', '+', want, BACK})
  if #back < want then call('SREM', BACKS, type .. ':' .. lane) end
  for _, pending in ipairs(back) do
    local entry = pending[1]
    local claimed = call('XCLAIM', key, GROUP, HELD, 0, entry)
    if claimed[1] then start(key, type, lane, entry, claimed[1][2][2]) end
  end
end

local function full() return #jobs >= free or bytes >= BYTES end

-- Whether the lane has no unread entry left.
local function take_new(key, type, lane)
  while not full() do
    local want = math.min(STEP, free - #jobs)
    local read = with_group(key, {'XREADGROUP', 'GROUP', GROUP, HELD, 'COUNT', want, 'STREAMS', key, '>'})
    if not read then return true end
    for _, entry in ipairs(read[1][2]) do start(key, type, lane, entry[1], entry[2][2]) end
    if #read[1][2] < want then return true end
  end
  return false
end

local function serve(type, lane)
  local key = lane_key(type, lane)
  if backs and call('SISMEMBER', BACKS, type .. ':' .. lane) == 1 then take_back(key, type, lane) end
  local drained = take_new(key, type, lane)
  if drained then
    call('ZREM', ready_key(lane), type)
  else
    -- to the microsecond: two takes in one millisecond are two turns
    local t = call('TIME')
    call('ZADD', ready_key(lane), t[1] * 1000000 + t[2], type)
    ring(type)
  end
end

-- Pages through the functions that wait in a lane; those served move behind, so what is collected
-- first is what is served first.
local function serve_lane(lane)
  local names, from = {}, 0
  repeat
    local page = call('ZRANGE', ready_key(lane), from, from + PAGE - 1)
    for _, type in ipairs(page) do
      if string.find(serves, ',' .. type .. ',', 1, true) then names[#names + 1] = type end
    end
    from = from + PAGE
  until #page < PAGE or #names >= free
  for _, type in ipairs(names) do
    if full() then return end
    serve(type, lane)
  end
end

for i = 6, #ARGV do
  if full() then break end
  serve_lane(ARGV[i])
end

tell_events()
local due = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
return {now, due[2] and math.max(0, due[2] - now) or -1, full() and 1 or 0, jobs}
