-- with: limits
-- Gives a worker attempts to run: promotes what is due, then takes from the highest lane down, or as the lanes'
-- weights say, in each lane from the function that was served longest ago.
-- ARGV[1]  the worker's id
-- ARGV[2]  its free slots, at least 1
-- ARGV[3]  the functions it has and their versions, as ',a=1f3c,b=,'
-- ARGV[4]  ms of a lease
-- ARGV[5]  1 if the call was sent ahead, to run when the worker is woken; else 0
-- ARGV[6]  msgpack [limits, weights], or ''
--          limits: {type: Limit}
--          weights: {lane: weight}, or nil
-- ARGV[7…] the lanes, highest first
-- reply    {now in ms, ms until the next job may start or -1, 1 if more may be waiting,
--           {Started, …}}
local worker, free, serves = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local now = now_ms()
local PAGE, STEP = 32, 32
local BYTES = 4194304
write_without_memory() -- if no job ran, no memory would ever be freed

promote(now)

local function ring_for_all()
  for i = 7, #ARGV do
    for _, type in ipairs(call('ZRANGE', ready_key(ARGV[i]), 0, PAGE - 1)) do ring(type) end
  end
end

-- A call that was sent ahead runs even if its worker has been stopped since. One that has not been heard
-- of for a lease is given nothing, and another is woken in its place.
local alive = alive_key(worker)
if ARGV[5] == '0' then
  call('SET', alive, 1, 'PX', ARGV[4])
elseif call('EXISTS', alive) == 0 then
  ring_for_all()
  tell_events()
  return {now, -1, 1, {}}
end

local limits, weights = {}, nil
if ARGV[6] ~= '' then
  local rules = cmsgpack.unpack(ARGV[6])
  limits, weights = rules[1], rules[2]
end
local paused = {}
for _, name in ipairs(call('SMEMBERS', PAUSED)) do paused[name] = true end

local jobs = {}
local bytes = 0 -- of payloads; a reply that takes too long would be lost, and its jobs with it
local parks = 0 -- entries set aside in this call
local soonest = -1 -- ms until a rate lets the next job of a function start
local cap = free
local backs = call('EXISTS', BACKS) == 1

-- The version of a function that the worker has, or false where it has none of it. Both what it has and what is ready
-- come by their names, as a rule: the next is looked for where the last was found.
local known, found = {}, 1
local function version_of(type)
  local version = known[type]
  if version == nil then
    local name = ',' .. type .. '='
    local from, at = string.find(serves, name, found, true)
    if not from then from, at = string.find(serves, name, 1, true) end
    version = from and string.match(serves, '[^,]*', at + 1) or false
    found = from or found
    known[type] = version
  end
  return version
end

local function full() return #jobs >= cap or bytes >= BYTES or parks >= 200 end

-- How many more of a function may start now.
local function room(type)
  local limit = limits[type]
  if not limit then return free end
  local left, wait = room_within(limit, free)
  if wait and (soonest < 0 or wait < soonest) then soonest = wait end
  return left
end

-- Marks an entry's job as running; an entry without a waiting job is dropped.
local function start(key, type, lane, entry, id, back)
  if bytes >= BYTES then -- the same read brought too many bytes: this one goes back to the front of its lane
    call('XCLAIM', key, GROUP, BACK, 0, entry, 'JUSTID')
    hand_back(type, lane)
    return
  end
  local record = job_key(id)
  local status, before, payload, max_attempts, created, extras = fields(record, 'status', 'attempt', 'payload',
    'max_attempts', 'created', 'extras')
  if status ~= 'pending' then
    local held = status == 'running' or status == 'cancelling'
    -- read again because the group was lost: the job runs, and its lease begins anew
    if not (held and call('HGET', record, 'entry') == entry) then delete_entry(key, entry) end
    return
  end
  local expires = extras and not before and call('HGET', record, 'expires')
  if expires and tonumber(expires) <= now then -- the sweeper fails it within a second
    call('XACK', key, GROUP, entry)
    return
  end
  local busy = enter(limits[type], type, lane, entry, id, extras, back)
  if not busy then
    parks = parks + 1
    return
  end
  if expires then call('ZREM', EXPIRY, id) end
  local attempt, spared = 1, 0
  if before then
    attempt, spared = tonumber(before) + 1, tonumber(call('HGET', record, 'spared')) or 0
    call('HDEL', record, 'progress') -- the last attempt's
  end
  call('HSET', record, 'status', 'running', 'attempt', text(attempt), 'started', text(now), 'worker', worker, 'version',
    version_of(type))
  if busy ~= '' then call('HSET', record, 'busy', busy) end
  event(id, type, 'running', attempt)
  bytes = bytes + #payload
  max_attempts, created = tonumber(max_attempts), tonumber(created)
  local row = {type, lane, entry, id, attempt, payload, max_attempts, created, spared} -- Started
  if extras or busy ~= '' then row[10], row[11] = busy, extras or '' end
  jobs[#jobs + 1] = row
end

-- Entries that were handed back come first: they were first in line once already. Whether none is left.
local function take_back(key, type, lane, allowed)
  local want = math.min(allowed, cap - #jobs)
  local back = with_group(type, lane, {'XPENDING', key, GROUP, '-', '+', want, BACK})
  if #back < want then call('SREM', BACKS, type .. ':' .. lane) end
  for _, pending in ipairs(back) do
    local entry = pending[1]
    local claimed = call('XCLAIM', key, GROUP, HELD, 0, entry)
    if claimed[1] then start(key, type, lane, entry, claimed[1][2][2], true) end
  end
  return #back < want
end

-- Starts unread entries until there are `last` jobs. Returns whether the function has none left there.
local function take_new(key, type, lane, last)
  while not full() and #jobs < last do
    local want = math.min(STEP, cap - #jobs, last - #jobs)
    local read = with_group(type, lane, {'XREADGROUP', 'GROUP', GROUP, HELD, 'COUNT', want, 'STREAMS', key, '>'})
    if not read then return true end
    for _, entry in ipairs(read[1][2]) do start(key, type, lane, entry[1], entry[2][2]) end
    if #read[1][2] < want then return true end
  end
  return false
end

-- Whether the function has nothing left there.
local function serve(type, lane)
  local allowed = room(type)
  if allowed <= 0 then return false end
  local key, before = lane_key(type, lane), #jobs
  local back_over = true
  if backs and call('SISMEMBER', BACKS, type .. ':' .. lane) == 1 then
    back_over = take_back(key, type, lane, allowed)
  end
  local drained = take_new(key, type, lane, before + allowed) and back_over
  if limits[type] then spend(limits[type], #jobs - before) end
  if drained then return true end
  -- to the microsecond: two takes in one millisecond are two turns
  call('ZADD', ready_key(lane), clock_us(), type)
  if room(type) > 0 then ring(type) end
  return false
end

-- How many functions, starting at `from`, one read may serve: those without limits, while there is room for at
-- least two jobs of each. A function that fills its share of the read has to be read again.
local function alike(types, from)
  local space, many = math.floor(math.min(STEP, cap - #jobs) / 2), 0
  while many < space and not backs and types[from + many] and not limits[types[from + many]] do many = many + 1 end
  return many
end

-- Serves `many` functions with one read, and adds those that have nothing left to `drained`.
local function serve_together(types, from, many, lane, drained)
  local want = math.floor(math.min(STEP, cap - #jobs) / many)
  local read, type_of, more = {'XREADGROUP', 'GROUP', GROUP, HELD, 'COUNT', want, 'STREAMS'}, {}, {}
  for i = from, from + many - 1 do
    local key = lane_key(types[i], lane)
    read[#read + 1], type_of[key] = key, types[i]
  end
  for _ = 1, many do read[#read + 1] = '>' end
  local reply = redis.pcall(unpack(read)) or {}
  for _, stream in ipairs(reply) do
    local key, entries = stream[1], stream[2]
    local type = type_of[key]
    for _, entry in ipairs(entries) do start(key, type, lane, entry[1], entry[2][2]) end
    if #entries == want then more[type] = true end
  end
  for i = from, from + many - 1 do
    if reply.err and full() then return end -- a group was missing: each was served alone, as long as there was room
    local over = not reply.err and not more[types[i]]
    if over or serve(types[i], lane) then drained[#drained + 1] = types[i] end
  end
end

-- Serves the functions that wait in a lane. All are collected, page by page, before the first is served: serving
-- one moves it to the end, which would upset the paging.
local function serve_lane(lane)
  if paused['lane:' .. lane] then return end
  local names, from = {}, 0
  repeat
    local page = call('ZRANGE', ready_key(lane), from, from + PAGE - 1)
    for _, type in ipairs(page) do
      if version_of(type) and not (next(paused) and paused['function:' .. type])
        and (not limits[type] or room(type) > 0) then
        names[#names + 1] = type
      end
    end
    from = from + PAGE
  until #page < PAGE or #names >= free
  local drained, at = {}, 1
  while at <= #names and not full() do
    local many = alike(names, at)
    if many > 1 then
      serve_together(names, at, many, lane, drained)
      at = at + many
    else
      if serve(names[at], lane) then drained[#drained + 1] = names[at] end
      at = at + 1
    end
  end
  local over = drained
  if next(handed) then -- what came back meanwhile, as a parked entry may, is there to be taken
    over = {}
    for _, type in ipairs(drained) do
      if not handed[type .. ':' .. lane] then over[#over + 1] = type end
    end
  end
  if #over > 0 then call('ZREM', ready_key(lane), unpack(over)) end
end

-- Stride scheduling: the lane that is furthest behind in its share is served next, a part of the free slots at a
-- time. A lane that had nothing to do is not owed for it.
local function serve_by_weight()
  local turns, lanes, total = turns_key(), {}, 0
  for i = 7, #ARGV do
    lanes[#lanes + 1] = {name = ARGV[i], weight = weights[ARGV[i]], at = tonumber(call('HGET', turns, ARGV[i])) or 0}
    total = total + weights[ARGV[i]]
  end
  local clock = tonumber(call('HGET', turns, '')) or 0
  while #lanes > 0 and #jobs < free and not full() do
    local least = 1
    for i, lane in ipairs(lanes) do
      lane.at = math.max(lane.at, clock)
      if lane.at < lanes[least].at then least = i end
    end
    local lane, before = lanes[least], #jobs
    cap = math.min(free, before + math.max(1, math.floor(free * lane.weight / total)))
    serve_lane(lane.name)
    if #jobs < cap then table.remove(lanes, least) end
    if #jobs > before then
      clock = lane.at
      lane.at = lane.at + (#jobs - before) / lane.weight
      call('HSET', turns, lane.name, tostring(lane.at), '', tostring(clock))
    end
    cap = free
  end
end

if paused['*'] then
  tell_events()
  return {now, -1, 0, {}}
end
if weights then
  serve_by_weight()
else
  for i = 7, #ARGV do
    if full() then break end
    serve_lane(ARGV[i])
  end
end

-- The bell that woke this worker may have been for what it had no room for, and others have.
if ARGV[5] == '1' and full() then ring_for_all() end

tell_events()
local due = call('ZRANGE', DUE, 0, 0, 'WITHSCORES')
local wait = due[2] and math.max(0, due[2] - now) or -1
if soonest >= 0 and (wait < 0 or soonest < wait) then wait = soonest end
return {now, wait, full() and 1 or 0, jobs}
