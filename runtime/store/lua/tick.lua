-- with: store
-- Enqueues one tick of a schedule, once however many workers ask for it.
-- ARGV[1]  the schedule, 'function|cron|timezone'
-- ARGV[2]  the tick, in Unix ms
-- ARGV[3]  how many ticks are skipped with this call: those missed before it, and itself where it is skipped too
-- ARGV[4]  a NewJob, packed, or '' where this tick is skipped too, or none was due yet
-- reply    1 where this call dealt with the tick (a duplicate is not enqueued), 0 where that had been done before
local key, tick = cron_key(), tonumber(ARGV[2])
local packed = call('HGET', key, ARGV[1])
local last = packed and cmsgpack.unpack(packed) or {tick = 0, skipped = 0}
if last.tick >= tick then return 0 end
last.tick, last.skipped = tick, last.skipped + tonumber(ARGV[3])
if ARGV[4] ~= '' then
  local job = cmsgpack.unpack(ARGV[4])
  local id, type, lane, _, _, _, extras = unpack(job, 1, 7) -- NewJob
  local unique = extras and cmsgpack.unpack(extras).unique
  if not (unique and live_duplicate(type, unique)) then
    store(job, now_ms())
    ready(type, lane)
    last.job = id
    last.ran = tick
  end
end
call('HSET', key, ARGV[1], cmsgpack.pack(last))
tell_events()
return 1
