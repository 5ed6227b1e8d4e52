"""Jobs over gRPC."""

import asyncio
import json
import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from runtime import Context, function
from runtime.rpc.generated.lanework.v1 import jobs_pb2 as pb
from tests.conftest import deploy


async def enqueue(served, type="echo", payload=b"", **fields):
    response = await served.call("EnqueueJob", pb.EnqueueJobRequest(type=type, payload=payload, **fields))
    return response.job


async def get(served, job_id):
    return (await served.call("GetJob", pb.GetJobRequest(id=job_id))).job


async def settled(served, job_id):
    """The job, once the stream of its events has told that it is over."""
    async for event in served.call("WatchJob", pb.WatchJobRequest(id=job_id)):
        if event.HasField("settled"):
            return event.settled
    raise AssertionError("the stream ended before the job")


async def refused(call):
    """What the call is refused with: its code, its text, its stable reason and the fields that are wrong."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    error = raised.value
    found = {}
    for detail in rpc_status.from_call(as_sync(error)).details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            if detail.Is(kind.DESCRIPTOR):
                found[kind.DESCRIPTOR.name] = kind.FromString(detail.value)
    return error, found


def as_sync(error):
    """grpc_status reads the errors of synchronous calls."""

    class Call:
        code = staticmethod(error.code)
        details = staticmethod(error.details)
        trailing_metadata = staticmethod(error.trailing_metadata)

    return Call


# one job


async def test_further_options_are_those_of_http(served, client, deployed):
    options = {
        "backoff": "5s",
        "start_before": "2030-01-01T00:00:00Z",
        "then": [{"type": "add", "payload": {"a": 1}}],
    }

    job = await enqueue(served, payload=b"{}", delay_ms=60_000, options=json.dumps(options))
    found = await client.get(job.id)

    assert [after["type"] for after in found.then] == ["add"]
    assert (found.status, found.start_before) == ("scheduled", 1_893_456_000_000)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("{", "options: is not JSON"),
        ("3", "options: is an object"),
        ('{"colour": "red"}', 'field: "colour"'),
        ('{"payload": 3}', "options: have no payload"),
        ('{"type": "add"}', "options: have no type"),
        ('{"priority": "low"}', "options: say priority, as a field of its own does"),
        ('{"backoff": "soon"}', "no length of time"),
        ('{"then": [{"type": "nobody"}]}', "nobody"),
        ('{"then": 3}', "is a list of up to 100 jobs"),
    ],
)
async def test_options_that_are_none_are_refused(served, deployed, options, told):
    request = pb.EnqueueJobRequest(type="echo", lane="high", options=options)
    error, found = await refused(served.call("EnqueueJob", request))

    assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
    assert told in f"{error.details()} {found}"


async def test_a_job_is_enqueued_and_its_result_is_read(served, worker):
    async def add(a: int, b: int) -> int:
        return a + b

    async with worker(add=add):
        job = await enqueue(served, "add", b'{"a": 5, "b": 3}')
        done = await settled(served, job.id)

    assert (job.type, job.status, job.attempt) == ("add", pb.JOB_STATUS_PENDING, 0)
    assert (done.status, done.result, done.result_encoding) == (pb.JOB_STATUS_COMPLETED, b"8", pb.ENCODING_JSON)
    assert job.created_at == job.execution_time_ms <= done.started_at <= done.finished_at


@pytest.mark.parametrize(
    ("sent", "encoding", "arrives"),
    [
        (b'{"a": [1, null]}', pb.ENCODING_UNSPECIFIED, {"a": [1, None]}),
        (b'  {"a": 1}', pb.ENCODING_UNSPECIFIED, {"a": 1}),
        (b"Hello", pb.ENCODING_UNSPECIFIED, b"Hello"),
        (b"[1, 2]", pb.ENCODING_UNSPECIFIED, b"[1, 2]"),
        (b'{"a": 1', pb.ENCODING_UNSPECIFIED, b'{"a": 1'),
        (b"\xff\x00", pb.ENCODING_UNSPECIFIED, b"\xff\x00"),
        (b"", pb.ENCODING_UNSPECIFIED, None),
        (b"[1, 2]", pb.ENCODING_JSON, [1, 2]),
        (b"null", pb.ENCODING_JSON, None),
        (b'{"a": 1}', pb.ENCODING_BYTES, b'{"a": 1}'),
        (b"", pb.ENCODING_BYTES, b""),
    ],
)
@pytest.mark.usefixtures("deployed")
async def test_an_object_of_json_is_the_payload_and_other_bytes_are_bytes(served, client, sent, encoding, arrives):
    job = await enqueue(served, payload=sent, payload_encoding=encoding)

    assert (await client.get(job.id)).payload == arrives


@pytest.mark.parametrize("result", [{"a": 1}, [1], "text", b"\x00bytes", None, 2**60, {"b": b"x"}])
async def test_what_comes_back_says_what_its_bytes_are(served, worker, result):
    async def make():
        return result

    async with worker(make=make):
        done = await settled(served, (await enqueue(served, "make")).id)

    if isinstance(result, bytes):
        assert (done.result_encoding, done.result) == (pb.ENCODING_BYTES, result)
    else:
        shown = {"b": {"$base64": "eA=="}} if result == {"b": b"x"} else result
        assert (done.result_encoding, json.loads(done.result)) == (pb.ENCODING_JSON, shown)


@pytest.mark.usefixtures("deployed")
async def test_a_job_has_what_was_asked_for(served, client):
    when = int(time.time() * 1000) + 60_000

    job = await enqueue(
        served,
        lane="high",
        execution_time_ms=when,
        max_attempts=7,
        tags={"order": "o1"},
        unique="u1",
        ttl_ms=90_000,
    )

    assert (job.status, job.execution_time_ms, job.lane) == (pb.JOB_STATUS_SCHEDULED, when, "high")
    assert (job.max_attempts, dict(job.tags)) == (7, {"order": "o1"})
    assert (await client.get(job.id)).start_before == when + 90_000


@pytest.mark.parametrize("past", [0, -5, 1])
@pytest.mark.usefixtures("deployed")
async def test_a_time_that_is_past_means_at_once(served, past):
    job = await enqueue(served, execution_time_ms=past)

    assert job.status == pb.JOB_STATUS_PENDING


@pytest.mark.usefixtures("deployed")
async def test_an_idempotency_key_finds_the_job_that_it_stands_for(served):
    request = pb.EnqueueJobRequest(type="echo", payload=b"{}", idempotency_key="k")
    first = await served.call("EnqueueJob", request)
    second = await served.call("EnqueueJob", request)
    error, details = await refused(
        served.call("EnqueueJob", pb.EnqueueJobRequest(type="echo", payload=b'{"x": 1}', idempotency_key="k"))
    )

    assert (first.created, second.created, second.job.id) == (True, False, first.job.id)
    assert (error.code(), details["ErrorInfo"].reason) == (grpc.StatusCode.ALREADY_EXISTS, "KEY_REUSED")


async def test_a_failed_job_says_why(served, worker):
    @function(retry=1)
    async def fail():
        raise ValueError("not today \udcff")

    async with worker(fail=fail):
        done = await settled(served, (await enqueue(served, "fail")).id)

    assert done.status == pb.JOB_STATUS_FAILED
    assert (done.error.type, done.error.message) == ("ValueError", "not today \\udcff")
    assert "not today" in done.error.traceback
    assert (done.result, done.result_encoding) == (b"", pb.ENCODING_UNSPECIFIED)


@pytest.mark.usefixtures("deployed")
async def test_a_job_is_cancelled_once(served):
    job = await enqueue(served)

    cancelled = (await served.call("CancelJob", pb.CancelJobRequest(id=job.id))).job
    error, details = await refused(served.call("CancelJob", pb.CancelJobRequest(id=job.id)))

    assert cancelled.status == pb.JOB_STATUS_CANCELLED
    assert (error.code(), details["ErrorInfo"].reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STATUS_CONFLICT")


# what is refused


@pytest.mark.parametrize(
    ("fields", "code", "reason", "wrong"),
    [
        ({"type": "ecoh"}, "NOT_FOUND", "FUNCTION_UNKNOWN", []),
        ({"type": ""}, "INVALID_ARGUMENT", "REQUEST_INVALID", ["type"]),
        (
            {"type": "add", "payload": b'{"b": "x"}'},
            "INVALID_ARGUMENT",
            "PAYLOAD_INVALID",
            ["payload/a", "payload/b"],
        ),
        ({"payload": b"x", "payload_encoding": 1}, "INVALID_ARGUMENT", "JOB_INVALID", ["payload"]),
        ({"payload": b"x", "payload_encoding": 9}, "INVALID_ARGUMENT", "JOB_INVALID", ["payload_encoding"]),
        ({"lane": "middle"}, "INVALID_ARGUMENT", "LANE_UNKNOWN", ["lane"]),
        ({"max_attempts": 0}, "INVALID_ARGUMENT", "JOB_INVALID", ["max_attempts"]),
        ({"delay_ms": 5, "execution_time_ms": 5}, "INVALID_ARGUMENT", "JOB_INVALID", ["delay_ms"]),
        ({"delay_ms": -5}, "INVALID_ARGUMENT", "JOB_INVALID", ["delay_ms"]),
        ({"ttl_ms": -1}, "INVALID_ARGUMENT", "JOB_INVALID", ["ttl_ms"]),
        ({"execution_time_ms": 1 << 62}, "INVALID_ARGUMENT", "JOB_INVALID", ["execution_time_ms"]),
        ({"tags": {"A B": "x"}}, "INVALID_ARGUMENT", "JOB_INVALID", ["tags"]),
        ({"callback_url": "ftp://x"}, "INVALID_ARGUMENT", "JOB_INVALID", ["callback_url"]),
        ({"idempotency_key": "k" * 600}, "INVALID_ARGUMENT", "JOB_INVALID", ["idempotency_key"]),
        ({"payload": b"x" * 20_001}, "RESOURCE_EXHAUSTED", "TOO_LARGE", ["payload"]),
    ],
)
@pytest.mark.usefixtures("deployed")
async def test_a_wrong_request_is_told_what_is_wrong(served, fields, code, reason, wrong):
    error, details = await refused(served.call("EnqueueJob", pb.EnqueueJobRequest(**{"type": "echo", **fields})))

    assert error.code() == grpc.StatusCode[code], error.details()
    assert (details["ErrorInfo"].reason, details["ErrorInfo"].domain) == (reason, "lanework")
    violations = details["BadRequest"].field_violations if "BadRequest" in details else []
    assert sorted(violation.field for violation in violations) == wrong


async def test_many_errors_fit_into_the_metadata_that_clients_take(served, client):
    async def many(**words: int) -> None: ...

    async def strict(words: list[int]) -> None: ...

    await deploy(client, strict=strict)
    payload = json.dumps({"words": ["x" * 400] * 40}).encode()

    error, details = await refused(served.call("EnqueueJob", pb.EnqueueJobRequest(type="strict", payload=payload)))

    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert details["ErrorInfo"].reason == "PAYLOAD_INVALID"
    assert len(details["BadRequest"].field_violations) >= 1


async def test_a_full_queue_says_when_to_try_again(served, client):
    @function(max_waiting=1)
    async def narrow(): ...

    await deploy(client, narrow=narrow)
    await enqueue(served, "narrow")

    error, details = await refused(served.call("EnqueueJob", pb.EnqueueJobRequest(type="narrow")))

    assert (error.code(), details["ErrorInfo"].reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert details["RetryInfo"].retry_delay.seconds >= 1


@pytest.mark.parametrize("method", ["GetJob", "CancelJob"])
async def test_a_job_that_is_not_there_is_not_found(served, method):
    for job_id in ("", "nonsense", "0" * 36, "01a22b34-3136-7000-a865-e024ac87f6c8"):
        request = getattr(pb, f"{method}Request")(id=job_id)
        error, details = await refused(served.call(method, request))

        assert (error.code(), details["ErrorInfo"].reason) == (grpc.StatusCode.NOT_FOUND, "JOB_NOT_FOUND")


async def test_bytes_that_are_no_message_are_refused(served):
    stub = served.channel.unary_unary("/lanework.v1.JobService/EnqueueJob")

    error, details = await refused(stub(b"\xff\xff\xff", timeout=10))

    assert (error.code(), details["ErrorInfo"].reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID")


async def test_a_message_beyond_the_limit_of_the_port_is_refused(served):
    too_large = pb.EnqueueJobRequest(type="echo", payload=b"x" * (4 << 20))

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.call("EnqueueJob", too_large)

    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_each_reply_names_its_request(served):
    call = served.call("ListJobs", metadata=(("x-request-id", "mine-1"),))
    await call
    error, _ = await refused(
        served.call("GetJob", pb.GetJobRequest(id="x"), metadata=(("x-request-id", "mine-2"),))
    )

    assert dict(await call.trailing_metadata())["x-request-id"] == "mine-1"
    assert dict(error.trailing_metadata())["x-request-id"] == "mine-2"


# deadlines and cancellation


async def test_a_deadline_ends_a_call_and_what_it_waits_for(served, client):
    async def echo(): ...

    await deploy(client, echo=echo)
    job = await enqueue(served)

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in served.call("WatchJob", pb.WatchJobRequest(id=job.id), timeout=0.3):
            pass

    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await until_nobody_watches(served)


@pytest.mark.usefixtures("deployed")
async def test_cancelling_a_call_ends_what_it_waits_for(served):
    job = await enqueue(served)
    call = served.call("WatchJob", pb.WatchJobRequest(id=job.id))
    await call.read()

    call.cancel()

    await until_nobody_watches(served)


async def until_nobody_watches(served):
    async with asyncio.timeout(10):
        while served.lanework._streams.total():
            await asyncio.sleep(0)


# following a job


async def test_a_watched_job_tells_what_happens_to_it(served, worker, logged):
    async def tell(ctx: Context) -> str:
        ctx.log.info("hello", n=1)
        ctx.emit("chunk")
        ctx.emit(b"\x00")
        ctx.progress(1, 2, "half")
        return "done"

    async with worker(tell=tell):
        job = await enqueue(served, "tell")
        events = [event async for event in served.call("WatchJob", pb.WatchJobRequest(id=job.id))]

    (line,) = [event.log for event in events if event.HasField("log")]
    chunks = [(e.output.number, e.output.value, e.output.encoding) for e in events if e.HasField("output")]
    last = events[-1].settled
    assert (line.level, line.event, json.loads(line.fields)) == ("info", "hello", {"n": 1})
    assert chunks == [(1, b'"chunk"', pb.ENCODING_JSON), (2, b"\x00", pb.ENCODING_BYTES)]
    assert (last.result, last.progress.done, last.progress.total, last.progress.note) == (b'"done"', 1, 2, "half")


async def test_a_watcher_goes_on_from_a_position(served, worker):
    release = asyncio.Event()

    async def tell(ctx: Context) -> None:
        ctx.emit(1)
        await release.wait()
        ctx.emit(2)

    async with worker(tell=tell):
        job = await enqueue(served, "tell")
        position = ""
        call = served.call("WatchJob", pb.WatchJobRequest(id=job.id))
        async for event in call:
            position = event.position
            if event.HasField("output"):
                break
        call.cancel()
        release.set()
        rest = [e async for e in served.call("WatchJob", pb.WatchJobRequest(id=job.id, after=position))]
        over = [e async for e in served.call("WatchJob", pb.WatchJobRequest(id=job.id, after=rest[-1].position))]

    assert [event.output.value for event in rest if event.HasField("output")] == [b"2"]
    assert rest[-1].settled.status == pb.JOB_STATUS_COMPLETED
    assert over == []


@pytest.mark.usefixtures("deployed")
async def test_a_stream_that_ends_before_its_job_says_so(served):
    job = await enqueue(served)
    call = served.call("WatchJob", pb.WatchJobRequest(id=job.id))
    await call.read()

    served.lanework.release()  # the gateway leaves

    error, _ = await refused(drained(call))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert "last position" in error.details()


async def drained(call):
    while await call.read() != grpc.aio.EOF:
        pass


# many jobs


@pytest.mark.usefixtures("deployed")
async def test_a_stream_of_jobs_is_stored_and_each_has_its_answer(served, client):
    async def requests():
        yield pb.EnqueueJobsRequest(jobs=[pb.EnqueueJobRequest(type="add", payload=b'{"a": 1}')] * 1500)
        yield pb.EnqueueJobsRequest()
        yield pb.EnqueueJobsRequest(
            jobs=[
                pb.EnqueueJobRequest(type="add", payload=b'{"a": "x"}'),
                pb.EnqueueJobRequest(type="nobody"),
                pb.EnqueueJobRequest(type="add", payload=b'{"a": 2}', idempotency_key="k"),
                pb.EnqueueJobRequest(type="add", payload=b'{"a": 2}', idempotency_key="k"),
            ]
        )

    response = await served.call("EnqueueJobs", requests())

    assert (response.stored, response.refused, len(response.results)) == (1502, 2, 1504)
    wrong, unknown, first, again = response.results[-4:]
    assert (wrong.refusal.code, wrong.refusal.reason, wrong.refusal.fields[0].field) == (
        grpc.StatusCode.INVALID_ARGUMENT.value[0],
        "PAYLOAD_INVALID",
        "payload/a",
    )
    assert unknown.refusal.reason == "FUNCTION_UNKNOWN"
    assert (first.id, first.created, again.created) == (again.id, True, False)
    assert (await client.get(response.results[0].id)).payload == {"a": 1}


@pytest.mark.usefixtures("deployed")
async def test_a_stream_without_jobs_stores_none(served):
    async def requests():
        return
        yield

    response = await served.call("EnqueueJobs", requests())

    assert (response.stored, response.refused, len(response.results)) == (0, 0, 0)


# lists, pauses, figures


@pytest.mark.usefixtures("deployed")
async def test_lists_go_page_by_page_and_show_payloads_where_asked(served):
    jobs = [await enqueue(served, payload=b'{"n": 1}', tags={"order": "o1"}) for _ in range(5)]
    await enqueue(served, "add", b'{"a": 1}')

    first = await served.call("ListJobs", pb.ListJobsRequest(type="echo", page_size=3))
    rest = await served.call(
        "ListJobs", pb.ListJobsRequest(type="echo", page_size=3, page_token=first.next_page_token, full=True)
    )
    tagged = await served.call("ListJobs", pb.ListJobsRequest(tag="order:o1", status=pb.JOB_STATUS_PENDING))

    assert [job.id for job in [*first.jobs, *rest.jobs]] == [job.id for job in reversed(jobs)]
    assert (first.jobs[0].payload, rest.jobs[0].payload) == (b"", b'{"n":1}')
    assert len(tagged.jobs) == 5


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_size": 501}, "page_size"),
        ({"page_token": "nonsense"}, "page_token"),
        ({"status": 77}, "status"),
        ({"lane": "middle"}, "lane"),
        ({"parent": "nonsense"}, "parent"),
        ({"tag": "no tag"}, "tag"),
        ({"tag": "a:b", "parent": "01a22b34-3136-7000-a865-e024ac87f6c8"}, "tag"),
        ({"created_after": -1}, "created_after"),
        ({"created_before": 1 << 62}, "created_before"),
    ],
)
async def test_a_list_that_cannot_be_is_refused(served, fields, wrong):
    error, details = await refused(served.call("ListJobs", pb.ListJobsRequest(**fields)))

    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert [violation.field for violation in details["BadRequest"].field_violations] == [wrong]


async def test_a_search_without_a_history_says_what_is_missing(served):
    error, details = await refused(served.call("ListJobs", pb.ListJobsRequest(payload={"to": "x"})))

    assert (error.code(), details["ErrorInfo"].reason) == (grpc.StatusCode.FAILED_PRECONDITION, "HISTORY_MISSING")


@pytest.mark.usefixtures("deployed")
async def test_a_function_is_paused_and_resumed(served, client):
    await served.call("PauseFunction", pb.PauseFunctionRequest(function="echo"))
    paused = await client.paused()
    await served.call("ResumeFunction", pb.ResumeFunctionRequest(function="echo"))
    error, _ = await refused(served.call("PauseFunction"))

    assert (paused, await client.paused()) == (["function:echo"], [])
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.usefixtures("deployed")
async def test_figures_tell_what_waits(served):
    await enqueue(served)
    await enqueue(served, delay_ms=60_000)

    stats = await served.call("GetStats")

    (echo,) = [of for of in stats.functions if of.function == "echo"]
    assert (echo.whole.waiting, echo.whole.scheduled, echo.lanes["normal"].waiting) == (1, 1, 1)
    assert echo.whole.stored.last_minute == 2
