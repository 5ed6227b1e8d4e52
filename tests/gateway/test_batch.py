"""`POST /jobs/batch`: many jobs in one request, one result each, in order."""

import gzip
import json

import pytest

from runtime.errors import JobInvalid
from runtime.jobs.request import JobRequest

NDJSON = {"Content-Type": "application/x-ndjson"}


def lines(jobs):
    return b"\n".join(json.dumps(job).encode() for job in jobs)


def additions(count):
    return [{"type": "add", "payload": {"a": n}} for n in range(count)]


@pytest.mark.parametrize("form", ["array", "ndjson", "gzip"])
async def test_jobs_are_stored_in_their_order(http, deployed, form):
    jobs = additions(2500)
    if form == "array":
        reply = await http.post("/jobs/batch", json=jobs[:300])
    elif form == "ndjson":
        reply = await http.post("/jobs/batch", content=lines(jobs), headers=NDJSON)
    else:
        packed = gzip.compress(lines(jobs))
        reply = await http.post("/jobs/batch", content=packed, headers={**NDJSON, "Content-Encoding": "gzip"})

    results = reply.json()["results"]
    assert reply.status_code == 202
    assert (reply.json()["stored"], reply.json()["refused"]) == (300 if form == "array" else 2500, 0)
    last = (await http.get(f"/jobs/{results[-1]['id']}")).json()
    assert last["payload"] == {"a": len(results) - 1}
    assert len({result["id"] for result in results}) == len(results)


async def test_each_job_that_is_refused_has_its_problem_and_the_others_are_stored(http, deployed):
    jobs = [
        {"type": "add", "payload": {"a": 1}},
        {"type": "ad", "payload": {"a": 1}},
        {"type": "add", "payload": {"a": "x"}},
        {"type": "add", "payload": {"a": 1}, "colour": "red"},
        {"type": "add", "payload": {"a": 1}, "priority": "nowhere"},
        7,
        {"type": "add", "payload": {"a": 2}},
    ]

    reply = await http.post("/jobs/batch", json=jobs)

    assert reply.status_code == 207
    results = reply.json()["results"]
    assert [bool(result.get("new")) for result in results] == [True, False, False, False, False, False, True]
    problems = [result["problem"] for result in results if "problem" in result]
    assert [problem["status"] for problem in problems] == [404, 422, 422, 422, 422]
    assert problems[0]["near"] == ["add"]
    assert problems[1]["errors"][0]["field"] == "/a"
    assert len((await http.get("/jobs")).json()["jobs"]) == 2


async def test_a_line_that_is_no_json_is_refused_alone(http, deployed):
    body = b'{"type": "add", "payload": {"a": 1}}\n\n{"type": \n{"type": "add", "payload": {"a": 2}}\n'

    reply = await http.post("/jobs/batch", content=body, headers=NDJSON)

    results = reply.json()["results"]
    assert (reply.status_code, len(results)) == (207, 3)
    assert results[1]["problem"]["type"] == "/problems/bad-json"


async def test_a_key_of_each_job_finds_what_it_stored_before(http, deployed):
    jobs = [{"type": "add", "payload": {"a": n}, "idempotency_key": f"k{n}"} for n in range(3)]

    first = (await http.post("/jobs/batch", json=jobs)).json()["results"]
    jobs[2]["payload"] = {"a": 99}
    again = await http.post("/jobs/batch", json=jobs)
    single = await http.post("/jobs", json={"type": "add", "payload": {"a": 0}}, headers={"Idempotency-Key": "k0"})

    results = again.json()["results"]
    assert [(result["id"], result["new"]) for result in results[:2]] == [(f["id"], False) for f in first[:2]]
    assert results[2]["problem"]["type"] == "/problems/key-reused"
    assert (single.status_code, single.json()["id"]) == (200, first[0]["id"])


async def test_the_same_key_twice_in_a_batch_is_one_job(http, deployed):
    job = {"type": "add", "payload": {"a": 1}, "idempotency_key": "k"}

    first, second = (await http.post("/jobs/batch", json=[job, job])).json()["results"]

    assert (first["id"], first["new"], second["new"]) == (second["id"], True, False)


async def test_what_came_before_a_limit_stands_and_is_reported(http, deployed):
    reply = await http.post("/jobs/batch", content=lines(additions(10_001)), headers=NDJSON)

    body = reply.json()
    assert (reply.status_code, body["stored"], body["refused"]) == (207, 10_000, 1)
    assert body["results"][-1]["problem"]["type"] == "/problems/batch-invalid"


async def test_a_long_line_ends_the_batch_with_what_came_before_stored(http, deployed):
    body = lines(additions(2)) + b'\n{"type": "echo", "payload": "' + b"x" * 30_000

    reply = await http.post("/jobs/batch", content=body, headers=NDJSON)

    assert [result.get("new") for result in reply.json()["results"]] == [True, True, None]


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{}", {"Content-Type": "application/json"}, 422),
        (b"[{", {"Content-Type": "application/json"}, 400),
        (b"[]", {}, 415),
        (b"[]", {"Content-Type": "text/plain"}, 415),
        (b"not gzip", {**NDJSON, "Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"{}" * 9999)[:20], {**NDJSON, "Content-Encoding": "gzip"}, 400),
        (b"{}", {**NDJSON, "Content-Encoding": "br"}, 415),
    ],
)
async def test_a_body_that_is_no_batch_is_refused_whole(http, deployed, content, headers, status):
    reply = await http.post("/jobs/batch", content=content, headers=headers)

    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("content", "headers"), [(b"[]", {"Content-Type": "application/json"}), (b"", NDJSON)])
async def test_an_empty_batch_stores_nothing(http, deployed, content, headers):
    reply = await http.post("/jobs/batch", content=content, headers=headers)

    assert (reply.status_code, reply.json()) == (202, {"stored": 0, "refused": 0, "results": []})


async def test_a_small_body_that_becomes_a_huge_one_is_refused(http, deployed):
    bomb = gzip.compress(b'[{"type": "echo", "payload": "' + b"x" * (64 << 20) + b'"}]')

    array = await http.post(
        "/jobs/batch", content=bomb, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}
    )
    line = await http.post("/jobs/batch", content=bomb, headers={**NDJSON, "Content-Encoding": "gzip"})

    assert (array.status_code, line.status_code) == (413, 413)


async def test_gzip_may_have_several_members(http, deployed):
    body = b"".join(gzip.compress(lines(additions(10)) + b"\n") for _ in range(3))

    reply = await http.post("/jobs/batch", content=body, headers={**NDJSON, "Content-Encoding": "gzip"})

    assert (reply.status_code, reply.json()["stored"]) == (202, 30)


async def test_what_is_no_gzip_behind_a_member_is_told(http, deployed):
    body = gzip.compress(lines(additions(2)) + b"\n") + b"rubbish"

    reply = await http.post("/jobs/batch", content=body, headers={**NDJSON, "Content-Encoding": "gzip"})

    results = reply.json()["results"]
    assert (reply.status_code, [result.get("new") for result in results]) == (207, [True, True, None])
    assert results[-1]["problem"]["type"] == "/problems/bad-encoding"


async def test_the_problem_of_each_job_is_brief(http, deployed):
    jobs = [{"type": "ints", "payload": {"xs": ["wrong"] * 15}}, {"type": "x" * 2000}]

    reply = await http.post("/jobs/batch", json=jobs)

    wrong, unknown = [result["problem"] for result in reply.json()["results"]]
    assert len(wrong["errors"]) == 3
    assert len(unknown["detail"]) <= 501


async def test_a_client_gives_each_payload_its_key(client, deployed):
    first = await client.enqueue_many("add", [{"a": 1}, {"a": 2}], keys=["k1", "k2"])
    again = await client.enqueue_many("add", [{"a": 1}, {"a": 2}], keys=["k1", "k2"])

    assert first == again


@pytest.mark.parametrize(
    "keys", [["k1"], ["k1", "k2", "k3"], ["k1", ""], ["k1", 2], ["k1", None], "kk", {"a", "b"}, 7]
)
async def test_keys_that_are_not_one_for_each_payload_are_refused(client, deployed, keys):
    with pytest.raises(JobInvalid, match="key"):
        await client.enqueue_many("add", [{"a": 1}, {"a": 2}], keys=keys)

    assert (await client.page()).jobs == []


async def test_follow_ups_from_a_generator_are_those_of_each_job(client, worker):
    async def step(number): ...

    async with worker(step=step):
        then = (JobRequest("step", {"number": n}) for n in range(2))
        ids = await client.enqueue_many("step", [{"number": n} for n in range(2)], then=then)
        jobs = [await client.wait(job_id, 10) for job_id in ids]

    assert [len(job.children) for job in jobs] == [2, 2]
