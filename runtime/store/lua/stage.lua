-- Keeps a part of the many jobs that an attempt starts if it completes. Only the attempt that runs, by the worker that
-- holds it, stages.
-- ARGV[1]  the worker's id
-- ARGV[2]  the attempt's job
-- ARGV[3]  the attempt
-- ARGV[4]  which part this is, from 0; the first removes what an attempt before has left
-- ARGV[5]  msgpack [NewJob, …]
-- ARGV[6]  ms that parts are kept, from the last of them
-- reply    1 where it is kept, 0 where the attempt is no longer this worker's, or the parts before are gone
local id, part = ARGV[2], tonumber(ARGV[4])
local status, attempt, worker = fields(job_key(id), 'status', 'attempt', 'worker')
if (status ~= 'running' and status ~= 'cancelling') or attempt ~= ARGV[3] or worker ~= ARGV[1] then return 0 end
local key = staged_key(id)
if part == 0 and call('LINDEX', key, 0) ~= ARGV[5] then call('UNLINK', key) end -- an earlier attempt's
local kept = call('LLEN', key)
if kept < part then return 0 end
if kept == part then call('RPUSH', key, ARGV[5]) end -- else a caller that lost the reply has sent it again
call('PEXPIRE', key, ARGV[6])
return 1
