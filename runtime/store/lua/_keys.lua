-- The names of all keys, before every script; `store/keys.py` has the same, and a test compares the two.
-- KEYS[1] is the shard's root, `prefix:{shard}`: it routes the call to the shard's node.
local root = KEYS[1]
local DUE, LANES, LOG, EVENTS = root .. ':due', root .. ':lanes', root .. ':log', root .. ':events'
local EXPIRY, PAUSED, BACKS, PARKS = root .. ':expiry', root .. ':paused', root .. ':backs', root .. ':parks'
local STARTING = root .. ':starting'
local function lane_key(type, lane) return root .. ':q:' .. type .. ':' .. lane end
local function job_key(id) return root .. ':job:' .. id end
local function ready_key(lane) return root .. ':ready:' .. lane end
local function bell_key(type) return root .. ':bell:' .. type end
local function busy_key(limit) return root .. ':busy:' .. limit end
local function parked_key(limit) return root .. ':parked:' .. limit end
local function rate_key(type) return root .. ':rate:' .. type end
local function unique_key(type, digest) return root .. ':unique:' .. type .. ':' .. digest end
local function idempotency_key(digest) return root .. ':key:' .. digest end
local function stored_key(id) return root .. ':stored:' .. id end
local function staged_key(id) return root .. ':staged:' .. id end
local function output_key(id) return root .. ':output:' .. id end
local function lines_key(id) return root .. ':lines:' .. id end
local function join_key(id) return root .. ':join:' .. id end
local function dead_key(type) return root .. ':dead:' .. type end
local function orders_key(worker) return root .. ':orders:' .. worker end
local function alive_key(worker) return root .. ':alive:' .. worker end
local function lock_key(role) return root .. ':lock:' .. role end
local function tag_key(digest) return root .. ':tag:' .. digest end
local function charged_key(name) return root .. ':charged:' .. name end
local function tally_key(minute) return root .. ':tally:' .. minute end
local function archive_key() return root .. ':archive' end
local function archiving_key() return root .. ':archiving' end
local function turns_key() return root .. ':turns' end
local function cron_key() return root .. ':cron' end
local function nothing_key() return root .. ':nothing' end -- never there
