-- What holds a function's attempts back, as `store/rows.py` has it: Limit.

local function clock_us()
  local t = call('TIME')
  return t[1] * 1000000 + t[2]
end

-- µs by which a function's theoretical arrival time lies ahead of now.
local function ahead_of(us, name)
  return math.max(0, (tonumber(call('GET', rate_key(name))) or 0) - us)
end

-- How many of `free` may start now, and, if the rate lets none start, ms until it does. The rate is kept by the generic
-- cell rate algorithm (ITU-T I.371), on Redis' clock: the theoretical arrival time of a function's next attempt may lie
-- ahead by its burst.
local function room_within(limit, free)
  local name, concurrency, keyed, every, burst = unpack(limit) -- Limit
  local left, wait = free, nil
  if concurrency > 0 and keyed == 0 then left = math.min(left, concurrency - call('SCARD', busy_key(name))) end
  if every > 0 then
    local ahead = ahead_of(clock_us(), name)
    local fits = math.floor(burst - ahead / every)
    left = math.min(left, fits)
    if fits <= 0 then wait = math.ceil((ahead - (burst - 1) * every) / 1000) end
  end
  return left, wait
end

-- Counts attempts that have started towards the rate.
local function spend(limit, started)
  local name, _, _, every = unpack(limit) -- Limit
  if every == 0 or started == 0 then return end
  local us = clock_us()
  local ahead = ahead_of(us, name) + started * every
  call('SET', rate_key(name), string.format('%.0f', us + ahead), 'PX', math.ceil(ahead / 1000) + 1)
end

local some_are_parked = call('EXISTS', PARKS) == 1
local AT_A_TIME = 10 -- once a limit by key is removed, each job that starts unparks this many with its key

-- Counts a job towards its limit. Returns the name that it counts for while it runs, '' for none, or nil where its
-- key is busy or others wait for it: then the entry was parked. `limit`: the function's, or nil. `back`: whether
-- the entry was handed back, and so comes before what is parked.
local function enter(limit, type, lane, entry, id, extras, back)
  if not limit and not (extras and some_are_parked) then return '' end
  local name, concurrency, keyed = unpack(limit or {type, 0, 0}) -- Limit
  local parked
  if keyed == 1 or (extras and some_are_parked) then
    local by_key = name .. ':' .. (extras and cmsgpack.unpack(extras).ckey or '')
    parked = parked_key(by_key)
    if keyed == 1 then name = by_key else for _ = 1, AT_A_TIME do unpark(by_key) end end
  end
  if concurrency == 0 then return '' end
  if keyed == 1 then
    local inside, waits = call('SCARD', busy_key(name)), call('EXISTS', parked) == 1
    if inside >= concurrency or (not back and waits) then
      call('XACK', lane_key(type, lane), GROUP, entry)
      call(back and 'LPUSH' or 'RPUSH', parked, cmsgpack.pack({type, lane, entry, id})) -- Parked
      call('HSET', job_key(id), 'parked', name)
      call('SADD', PARKS, name)
      return nil
    end
    if waits and inside + 1 < concurrency then unpark(name) end
  end
  call('SADD', busy_key(name), id)
  return name
end
