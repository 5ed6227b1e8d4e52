"""What each problem means and what to do about it, by its code."""

from __future__ import annotations

EXPLAINED = {
    "access-denied": "The gateway asks for an access key, and none came, or one that is unknown, expired or "
    "revoked. Send Authorization: Bearer lw_…; whoever runs the gateway makes one with `lanework keys new`.",
    "access-forbidden": "The access key does not allow this: it has other scopes, or is for other functions.",
    "bad-encoding": "The body is not what its Content-Encoding says, or ends too early. Send gzip, or no encoding.",
    "bad-json": "The body, or a line of it, is not JSON (RFC 8259). The detail says where.",
    "batch-invalid": "A batch is a JSON array of jobs, or a job a line as NDJSON.",
    "body-invalid": "The body is not an object with the names that the detail lists.",
    "client-missing": "A fault of the gateway itself; its log has the cause.",
    "encoding-unknown": "Content-Encoding is gzip, or none.",
    "event-invalid": "The event is not as CloudEvents 1.0 has it. `errors` names each attribute by JSON Pointer.",
    "filter-invalid": "A filter of failed jobs cannot be read: error is text, after and before are times.",
    "foreign-page": "A page of another site asked for this. Programs, and pages of the gateway's own origin, may.",
    "function-broken": "The function's module loads on no worker. GET /functions/{name} has the traceback.",
    "function-invalid": "A fault of the gateway itself; its log has the cause.",
    "function-unknown": "No worker has published a function of this name. `near` has names that are alike; a "
    "function that was just deployed is known within two seconds of its worker's start.",
    "gateway-leaving": "The gateway was told to stop and could not wait for the whole request. Send it again; a "
    "job with an Idempotency-Key is stored once.",
    "hook-unknown": "The function takes no hooks: its handler has no parameter of the type runtime.Hook.",
    "hook-unready": "The function names a variable of the gateway's environment that has the secret of signatures, "
    "and it is not set there. Providers send again.",
    "host-unknown": "The gateway does not answer to the name in the Host header: see LANEWORK_HOSTS.",
    "http-error": "The request is not one that the gateway understands.",
    "internal-error": "The gateway failed. Its log has the cause, under the request's X-Request-Id.",
    "history-missing": "Only a history could tell, and none is set: LANEWORK_HISTORY_URL names its database.",
    "history-outdated": "The tables of history are not this version's. Run `lanework history migrate`.",
    "history-refused": "The database of history does not take this; the log has the cause.",
    "history-unavailable": "Redis has no such job, and the database of history, which may have it, does not "
    "answer. Ask again.",
    "job-failed": "The job has failed or was cancelled, and so has no result. The job itself tells why.",
    "job-invalid": "A field of the job cannot be. `errors` names each by JSON Pointer.",
    "job-not-found": "No job has this id, or its record has expired: LANEWORK_KEEP says how long one is kept.",
    "job-unsettled": "The job has no result yet. Ask again, or wait with the header Prefer: wait=30.",
    "key-reused": "The Idempotency-Key stands for a job with another request. Use a new key for a new request.",
    "lane-unknown": "No lane is what `priority` says. The detail lists the lanes; Prefer: handling=lenient takes "
    "the default lane in place of one that is not there.",
    "loop-changed": "A fault of the gateway itself; its log has the cause.",
    "method-not-allowed": "The path does not answer this method. The header Allow lists those it does.",
    "no-such-path": "The path is not part of the API. /docs shows all that are.",
    "not-an-event": "The request is no CloudEvent in any of the modes structured, binary and batched, in JSON.",
    "not-json": "The body has no media type that is understood here. Send Content-Type: application/json.",
    "not-ready": "The gateway knows no function yet, or not each that LANEWORK_EXPECT names. Start a worker.",
    "payload-invalid": "The payload does not fit the function's schema. `errors` names each field by JSON Pointer.",
    "query-invalid": "A parameter of the query is unknown, or its value cannot be. The detail says which.",
    "queue-full": "As many of the function's jobs wait as it allows (max_waiting). Try again after Retry-After.",
    "rate-exceeded": "The access key asks more often than it may, or has too many streams open. Try again after "
    "Retry-After.",
    "settings-invalid": "A fault of the gateway itself; its log has the cause.",
    "status-conflict": "The job's status does not allow this: a settled job cannot be cancelled, only a failed one "
    "can be run again, only a scheduled one can be moved.",
    "store-error": "Redis refused a command. The gateway's log has the cause.",
    "store-mismatch": "Processes disagree about lanes or shards. Give all the same settings.",
    "store-unavailable": "Redis does not answer. Nothing is known to be lost; a job may have been stored all "
    "the same: send it again with the same Idempotency-Key.",
    "store-unsupported": "The server is too old: Lanework needs Redis 7.0+ or Valkey 8+.",
    "too-large": "The body, a line of it, or the batch is too large. Pass large data by reference.",
}
