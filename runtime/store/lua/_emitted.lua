-- What attempts emit and log. An entry's id is the attempt's number and the entry's own, so that a repeated call
-- adds nothing twice, and the entries of a later attempt come after those of an earlier one.

local function add_emitted(key, trim, bound, entry, value)
  local reply = redis.pcall('XADD', key, trim, bound, entry, 'value', value)
  if type(reply) == 'table' and reply.err and not string.find(reply.err, 'equal or smaller', 1, true) then error(reply) end
end

-- `chunks`: each names the oldest one kept. Those of the attempt before stay until this attempt drops some of its
-- own, for readers that have not seen them yet. `lines`: the newest 200 of all attempts are kept.
local LINES = 200
local function keep_emitted(id, kind, attempt, chunks, lines, keep)
  local number_of = text(attempt) .. '-'
  for _, chunk in ipairs(chunks) do
    local number, oldest, value = unpack(chunk) -- Chunk
    local bound = oldest == 1 and text(attempt - 1) .. '-0' or number_of .. oldest
    add_emitted(output_key(id), 'MINID', bound, number_of .. number, value)
  end
  for _, line in ipairs(lines) do
    local number, value = unpack(line) -- Line
    add_emitted(lines_key(id), 'MAXLEN', LINES, number_of .. number, value)
  end
  if #chunks > 0 then event(id, kind, 'output', attempt) end
  if #lines > 0 then event(id, kind, 'log', attempt) end
  call('PEXPIRE', output_key(id), text(keep))
  call('PEXPIRE', lines_key(id), text(keep))
end
