-- with: emitted
-- Keeps what attempts emit and log.
-- ARGV[1]  the worker's id
-- ARGV[2]  ms that it is kept
-- ARGV[3]  msgpack [Emitted, …]
-- reply    how many attempts' were kept; what is of one that is no longer this worker's is not
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
