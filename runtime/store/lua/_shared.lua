-- What every script may use.
local call = redis.call
-- The group has two consumers: HELD has the entries of attempts that run (the job's record names the worker), BACK
-- those that were handed back. A consumer for each worker would outlive it in every stream that it had read.
local GROUP, HELD, BACK = 'lw', '+', '-'


-- A script that frees more memory than it takes calls this before its first write. A server at its maxmemory
-- refuses a script's first write if it may need memory, but none after a write that succeeded; and DEL needs none.
local function write_without_memory() call('DEL', nothing_key()) end

-- Fields of a hash, each false where it is not there.
local function fields(key, ...) return unpack(call('HMGET', key, ...)) end

local function now_ms()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A whole number as text. Redis 7.0 formats each number that a script passes to a call, which often costs more than
-- the call itself; most numbers of a batch are the same.
local texts = {}
local function text(number)
  local known = texts[number]
  if not known then
    known = string.format('%.0f', number)
    texts[number] = known
  end
  return known
end

-- Changes of state of this call. They go out as one entry: an XADD for each would cost more than
-- the change itself. Readers that fall behind the cap read the records again.
local events = {}
local function event(id, type, status, attempt)
  events[#events + 1] = {id, type, status, attempt} -- Change
end

-- How many jobs of this call were stored, completed or failed: for rates over the last hour. A call counts them
-- together, since most calls are about many jobs of one function.
local tallies = {} -- what -> lane -> type -> count
local function tally(what, type, lane)
  local lanes = tallies[what]
  if not lanes then lanes = {}; tallies[what] = lanes end
  local types = lanes[lane]
  if not types then types = {}; lanes[lane] = types end
  types[type] = (types[type] or 0) + 1
end
local TALLIED = 3720000 -- ms: an hour, the minute itself, and one to spare
local function tell_tallies()
  local key
  for what, lanes in pairs(tallies) do
    key = key or tally_key(text(math.floor(now_ms() / 60000)))
    for lane, types in pairs(lanes) do
      for type, count in pairs(types) do
        local total = call('HINCRBY', key, type .. ':' .. lane .. ':' .. what, text(count))
        if total == count then call('PEXPIRE', key, TALLIED) end
      end
    end
  end
end

-- Where there is a history, settled jobs wait for it to take them: their records stay until then, for at most the
-- ms in `archiving_key()`.
local longest_wait -- nil until it was read, and false where there is no history
local unarchived = {} -- of this call
local function expire_settled(record, id, keep)
  if longest_wait == nil then longest_wait = tonumber(call('GET', archiving_key())) or false end
  if longest_wait then
    local shorter = keep < longest_wait and keep or 0
    unarchived[#unarchived + 1] = {id, shorter} -- Unarchived
    keep = math.max(keep, longest_wait)
  end
  call('PEXPIRE', record, text(keep))
end
local function tell_history()
  if #unarchived == 0 then return end
  local oldest = text(now_ms() - longest_wait)
  call('XADD', archive_key(), 'MINID', '~', oldest, '*', 'jobs', cmsgpack.pack(unarchived))
end

local function tell_events()
  if #events > 0 then
    call('XADD', EVENTS, 'MAXLEN', '~', 2000, '*', 'jobs', cmsgpack.pack(events))
  end
  tell_tallies()
  tell_history()
end

-- Wakes one idle worker that has this function. A bell that already rings need not ring again:
-- the worker that hears it takes all it has room for, and rings again if more is left.
local function ring(type)
  local bell = bell_key(type)
  if call('EXISTS', bell) == 0 then call('RPUSH', bell, 1) end
end

-- Makes a function's lane visible to `take`, first in turn, and rings for it. One that is visible
-- already was rung for: a worker is on the way, or none has room, and the next that has looks.
local function ready(type, lane)
  if call('ZADD', ready_key(lane), 'NX', 0, type) == 1 then
    call('SADD', LANES, type .. ':' .. lane)
    ring(type)
  end
end

-- `ready` for many functions of a lane, with one call for all of them instead of one each.
local function ready_all(lane, types)
  local scores = call('ZMSCORE', ready_key(lane), unpack(types))
  local added, fresh, names, bells = {}, {}, {}, {}
  for i, type in ipairs(types) do
    if not scores[i] then
      added[#added + 1], added[#added + 2] = '0', type
      fresh[#fresh + 1], names[#names + 1], bells[#bells + 1] = type, type .. ':' .. lane, bell_key(type)
    end
  end
  if #names == 0 then return end
  call('ZADD', ready_key(lane), unpack(added))
  call('SADD', LANES, unpack(names))
  if call('EXISTS', unpack(bells)) == #bells then return end
  for _, type in ipairs(fresh) do ring(type) end
end

-- BACKS says where entries that were handed back may be; the pending list of the consumer BACK is the truth.
local handed = {} -- what this call handed back
local function hand_back(type, lane)
  handed[type .. ':' .. lane] = true
  call('SADD', BACKS, type .. ':' .. lane)
  ready(type, lane)
end

-- Puts a job at the end of its lane.
local function to_lane(record, id, type, lane, now, attempt)
  local entry = call('XADD', lane_key(type, lane), '*', 'job', id)
  call('HSET', record, 'status', 'pending', 'updated', now, 'entry', entry)
  event(id, type, 'pending', attempt)
  ready(type, lane)
end

-- Moves jobs whose time has come to their lanes.
local PROMOTE = 200
local function promote(now)
  for _, id in ipairs(call('ZRANGE', DUE, '-inf', now, 'BYSCORE', 'LIMIT', 0, PROMOTE)) do
    local record = job_key(id)
    local type, lane, status, attempt = fields(record, 'type', 'lane', 'status', 'attempt')
    call('ZREM', DUE, id)
    if status == 'scheduled' then to_lane(record, id, type, lane, now, tonumber(attempt) or 0) end
  end
end

-- Lets a job wait for its time.
local function to_due(id, type, due)
  call('ZADD', DUE, due, id)
  -- an idle worker sleeps until the next job that it knew to be due
  if call('ZRANGE', DUE, 0, 0)[1] == id then ring(type) end
end

-- Runs `command`, one of a group, and makes the group where it or its stream is missing. A group that was
-- lost knows of no entry: all are read again, and those whose job runs are held again.
local function with_group(type, lane, command)
  local reply = redis.pcall(unpack(command))
  if reply and reply.err then
    if not string.find(reply.err, 'NOGROUP', 1, true) then error(reply) end
    local key = lane_key(type, lane)
    call('XGROUP', 'CREATE', key, GROUP, '0', 'MKSTREAM')
    if call('XLEN', key) > 0 then ready(type, lane) end
    reply = call(unpack(command))
  end
  return reply
end

-- Removes an entry for good.
local function delete_entry(key, entry)
  call('XACK', key, GROUP, entry)
  call('XDEL', key, entry)
end

-- While an attempt of a function with a concurrency limit runs, its job is a member of `busy:NAME`. NAME is the
-- function, or `function:key` with a concurrency key. Entries that found their key busy are parked: delivered and
-- acknowledged, still in the stream, and listed in `parked:NAME` in their order.
-- PARKS has the names whose list may hold entries: the sweeper unparks where nothing runs.

-- Takes the first job that is parked for `name` back to the front of its lane.
local function unpark(name)
  local parked = parked_key(name)
  while true do
    local first = call('LPOP', parked)
    if not first then return end
    local type, lane, entry, id = unpack(cmsgpack.unpack(first)) -- Parked
    local status, waits_as = fields(job_key(id), 'status', 'entry')
    if status == 'pending' and waits_as == entry then
      with_group(type, lane, {'XCLAIM', lane_key(type, lane), GROUP, BACK, 0, entry, 'FORCE', 'JUSTID'})
      hand_back(type, lane)
      return
    end
  end
end

-- An attempt has ended: others that its limit held up may start.
local function leave_limit(busy, id, type)
  if busy then
    call('SREM', busy_key(busy), id)
    unpark(busy)
    ring(type)
    local name = string.match(busy, '^[^:]+')
    if name ~= type then ring(name) end -- the job was of an alias
  end
end
