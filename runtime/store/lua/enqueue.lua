-- with: store
-- Stores new jobs and puts each in its lane, or in the due set until its time.
-- ARGV[1]  msgpack [NewJob, …]
-- ARGV[2]  ms that the log of jobs reaches back
-- ARGV[3]  ms that an idempotency key is kept
-- ARGV[4]  the lanes, as 'a,b'
-- reply    {now in ms, {[index from 1, 'known' or 'differs' or 'duplicate' or 'full', the job's id or how many wait], …}}
--          of the jobs that were not stored. known: the idempotency key came before with the same request; differs:
--          with another request; duplicate: an equal job lives; full: too many wait
local jobs = cmsgpack.unpack(ARGV[1])
local now = now_ms()

-- a caller that lost the reply sends the same batch again
local stored = stored_key(jobs[1][1])
local before = call('GET', stored)
if before then return cmsgpack.unpack(before) end

-- How many jobs of a function wait in its lanes.
local counts = {}
local function waiting(type)
  if not counts[type] then
    local count = 0
    for lane in string.gmatch(ARGV[4], '[^,]+') do
      local key = lane_key(type, lane)
      count = count + call('XLEN', key)
      local pending = redis.pcall('XPENDING', key, GROUP)
      for _, consumer in ipairs(not pending.err and pending[4] or {}) do
        if consumer[1] == HELD then count = count - consumer[2] end
      end
    end
    counts[type] = count
  end
  return counts[type]
end

-- Why a job must not be stored: a verdict and what it is about.
local function refuse(job)
  local _, type, _, _, _, terms, extras = unpack(job, 1, 7) -- NewJob
  terms = terms or {}
  local seen = terms.key and call('GET', idempotency_key(terms.key))
  if seen then
    local id, digest = unpack(cmsgpack.unpack(seen)) -- Seen
    return digest == terms.digest and 'known' or 'differs', id
  end
  local unique = extras and cmsgpack.unpack(extras).unique
  local other = unique and live_duplicate(type, unique)
  if other then return 'duplicate', other end
  if terms.max_waiting and waiting(type) >= terms.max_waiting then return 'full', waiting(type) end
end

local lanes = {} -- of each, the functions that shall be ready: a list, and each as a key
for _, job in ipairs(jobs) do
  local _, type, lane, _, _, terms = unpack(job, 1, 7) -- NewJob
  if not (lanes[lane] and lanes[lane][type]) and not (terms and (terms.run_at or terms.delay)) then
    local types = lanes[lane] or {}
    lanes[lane], types[type] = types, true
    types[#types + 1] = type
  end
end
for lane, types in pairs(lanes) do
  if #types == 1 then ready(types[1], lane) else ready_all(lane, types) end
end

local refused = {}
for i, job in ipairs(jobs) do
  local id, type, _, _, _, terms, extras = unpack(job, 1, 7) -- NewJob
  local verdict, about
  if terms or extras then verdict, about = refuse(job) end
  if verdict then
    refused[#refused + 1] = {i, verdict, about}
  else
    store(job, now)
    if counts[type] then counts[type] = counts[type] + 1 end
    if terms and terms.key then
      local seen = cmsgpack.pack({id, terms.digest}) -- Seen
      call('SET', idempotency_key(terms.key), seen, 'PX', ARGV[3])
    end
  end
end
call('XTRIM', LOG, 'MINID', '~', now - ARGV[2])
tell_events()
local reply = {now, refused}
call('SET', stored, cmsgpack.pack(reply), 'PX', 60000)
return reply
