-- with: emitted
-- Keeps what attempts emit and log.
-- ARGV[1]  the worker's id
-- ARGV[2]  ms that it is kept
-- ARGV[3]  msgpack [Emitted, …]
-- reply    for how many attempts; what an attempt that is no longer this worker's has emitted and logged is dropped
local worker, keep = ARGV[1], tonumber(ARGV[2])
local kept = 0
for _, item in ipairs(cmsgpack.unpack(ARGV[3])) do
  local id, type, attempt, chunks, lines = unpack(item) -- Emitted
  local status, running, holder = fields(job_key(id), 'status', 'attempt', 'worker')
  if (status == 'running' or status == 'cancelling') and tonumber(running) == attempt and holder == worker then
    keep_emitted(id, type, attempt, chunks, lines, keep)
    kept = kept + 1
  end
end
tell_events()
return kept
