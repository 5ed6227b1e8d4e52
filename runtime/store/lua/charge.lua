-- Charges an access key for requests, by the generic cell rate algorithm (ITU-T I.371), on Redis' clock.
-- ARGV[1]  the key's name
-- ARGV[2]  µs from one request to the next
-- ARGV[3]  how many may come at once; a very large number for what must be let through
-- ARGV[4]  how many come
-- reply    0, or, where the key has used up what it may, ms until it may ask again; then nothing is charged.
--          Requests that cost more than is left are let through, and those after them wait the longer.
local every = tonumber(ARGV[2])
local t = call('TIME')
local us = t[1] * 1000000 + t[2]
local ahead = math.max(0, (tonumber(call('GET', charged_key(ARGV[1]))) or 0) - us)
local over = ahead - (ARGV[3] - 1) * every
if over > 0 then return math.ceil(over / 1000) end
ahead = ahead + ARGV[4] * every
call('SET', charged_key(ARGV[1]), string.format('%.0f', us + ahead), 'PX', math.ceil(ahead / 1000) + 1)
return 0
