-- The jobs that follow one that has settled, as store/rows.py has them: FollowUp; with what their payloads tell of it.

-- RFC 3339, section 5.6, of Unix ms: days to a date of the Gregorian calendar, whose years begin in March here.
local function rfc3339(ms)
  local days = math.floor(ms / 86400000) + 719468
  local era = math.floor(days / 146097)
  local day_of_era = days - era * 146097
  local leaps = math.floor(day_of_era / 1460) - math.floor(day_of_era / 36524) + math.floor(day_of_era / 146096)
  local year = math.floor((day_of_era - leaps) / 365)
  local day_of_year = day_of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * day_of_year + 2) / 153)
  local day = day_of_year - math.floor((153 * month + 2) / 5) + 1
  year, month = year + era * 400 + (month > 9 and 1 or 0), month > 9 and month - 9 or month + 3
  local s = math.floor(ms / 1000) % 86400
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', year, month, day, math.floor(s / 3600),
    math.floor(s / 60) % 60, s % 60, ms % 1000)
end

-- A settled job's fields, packed, as payloads ask for them: client/follow_ups.py has their names.
local MASK = '***' -- as values/secret_fields.py has it
local function packed_fields(record, id, secret)
  local type, lane, status, payload, result, error, attempt, created, started, finished = fields(record, 'type', 'lane',
    'status', 'payload', 'result', 'error', 'attempt', 'created', 'started', 'finished')
  local function time(ms) return cmsgpack.pack(ms and rfc3339(tonumber(ms)) or nil) end
  error = error and cmsgpack.unpack(error)
  return {
    id = cmsgpack.pack(id), type = cmsgpack.pack(type), lane = cmsgpack.pack(lane), status = cmsgpack.pack(status),
    payload = secret and cmsgpack.pack(MASK) or payload, result = result or cmsgpack.pack(nil),
    error = cmsgpack.pack(error and {type = error.type, message = error.message} or nil),
    attempt = cmsgpack.pack(tonumber(attempt) or 0),
    created_at = time(created), started_at = time(started), finished_at = time(finished),
  }
end

local MAP = 0x80 -- msgpack's, of up to 15 fields
local SMALL = 1024 -- bytes of a field that always goes along
local ROOM = 16777216 -- bytes of the payloads that one job's end fills in

-- A payload's parts in order, each packed; `value` gives a field, packed.
local function joined(parts, value)
  local packed = {}
  for i, part in ipairs(parts) do
    if i % 2 == 1 then
      packed[i] = part
    elseif type(part) == 'string' then
      packed[i] = value(part)
    else
      local fields = {string.char(MAP + #part)}
      for _, name in ipairs(part) do fields[#fields + 1] = cmsgpack.pack(name) .. value(name) end
      packed[i] = table.concat(fields)
    end
  end
  return packed
end

-- The payload with its fields. Where it would exceed `limit` bytes, each field above SMALL is replaced by its size;
-- what is left may still exceed it.
local function filled(parts, values, limit)
  local size = 0
  for i, part in ipairs(parts) do
    for _, name in ipairs(i % 2 == 1 and {} or type(part) == 'string' and {part} or part) do size = size + #values[name] end
    if i % 2 == 1 then size = size + #part end
  end
  return table.concat(joined(parts, function(name)
    local value = values[name]
    if size <= limit or #value <= SMALL then return value end
    return cmsgpack.pack({['$omitted'] = #value})
  end))
end

-- A new id for a job made at `now`, in the shard of the id `old`. The rest is a hash of `of`, which must differ for
-- each job that any job's end starts.
local function new_id(old, now, of)
  local time, hash = string.format('%012x', now), redis.sha1hex(of)
  return string.sub(time, 1, 8) .. '-' .. string.sub(time, 9) .. string.sub(old, 14, 20) .. string.sub(hash, 1, 3) .. '-' ..
    string.sub(hash, 4, 15)
end

-- The follow-ups that start when a job has settled with `status`, or nil; and the ids that are new. A follow-up has
-- the id from the request the first time it starts, and a new one if it started before, as after a replay.
local function followers(record, id, status, now, follow_ups, secret)
  local again, children, attempt = fields(record, 'again', 'children', 'attempt')
  local jobs, anew, values, room = {}, {}, nil, ROOM
  for _, row in ipairs(follow_ups) do
    local job, on, parts, limit = unpack(row, 1, 4) -- FollowUp
    if on == 'settled' or string.find(on, status, 1, true) then
      if parts then
        values = values or packed_fields(record, id, secret)
        job[4] = filled(parts, values, math.min(limit, room))
        room = math.max(0, room - #job[4])
      end
      if again or (children and string.find(children, job[1], 1, true)) then
        job[1] = new_id(job[1], now, id .. job[1] .. (attempt or '') .. now)
        anew[#anew + 1] = job[1]
      end
      jobs[#jobs + 1] = job
    end
  end
  return #jobs > 0 and jobs or nil, anew
end
