-- with: store, follow, finish
-- Cancels jobs: a waiting job is settled at once; for a running job, an order goes to its worker.
-- ARGV[1]  msgpack [id, …]
-- ARGV[2]  ms that their records are kept
-- ARGV[3]  ms that a worker's orders are kept; 0 leaves running jobs alone
-- reply    {the status before, or false where there is no such job, …}; a settled job stays as it is
local keep, orders_ms = tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()

local function cancel(id)
  local record = job_key(id)
  local status, type, attempt, worker, extras = fields(record, 'status', 'type', 'attempt', 'worker', 'extras')
  attempt = tonumber(attempt) or 0
  if status == 'pending' or status == 'scheduled' then
    withdraw(record, id)
    call('HSET', record, 'status', 'cancelled', 'finished', now)
    call('HDEL', record, 'run_at', 'entry')
    event(id, type, 'cancelled', attempt)
    finish(record, id, type, 'cancelled', now, extras, kept(extras, keep))
  elseif status == 'running' and orders_ms > 0 then
    call('HSET', record, 'status', 'cancelling', 'updated', now, 'cancel_at', now)
    local orders = orders_key(worker)
    call('RPUSH', orders, cmsgpack.pack({'cancel', id, attempt})) -- Order
    call('PEXPIRE', orders, ARGV[3])
    event(id, type, 'cancelling', attempt)
  end
  return status
end

local replies = {}
for i, id in ipairs(cmsgpack.unpack(ARGV[1])) do replies[i] = cancel(id) end
tell_events()
return replies
