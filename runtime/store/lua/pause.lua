-- Pauses and resumes: everything ('*'), 'function:NAME' or 'lane:NAME'. What is paused is not taken.
-- ARGV[1]  'pause' or 'resume'
-- ARGV[2]  the lanes, as 'a,b'
-- ARGV[3…] what
-- reply    what is paused now, or false where so much is paused that nothing more may be
local MAX_PAUSED = 1000
if ARGV[1] == 'pause' and call('SCARD', PAUSED) >= MAX_PAUSED then return false end
for i = 3, #ARGV do call(ARGV[1] == 'pause' and 'SADD' or 'SREM', PAUSED, ARGV[i]) end
if ARGV[1] == 'resume' then
  for lane in string.gmatch(ARGV[2], '[^,]+') do
    -- the sweeper rings for those beyond
    for _, type in ipairs(call('ZRANGE', ready_key(lane), 0, MAX_PAUSED - 1)) do ring(type) end
  end
end
return call('SMEMBERS', PAUSED)
