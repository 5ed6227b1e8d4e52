"""Bad input gets a clear error, and nothing is stored."""

import re

import pytest

from runtime import errors
from runtime.errors import LaneworkError
from runtime.gateway import problems

JSON = {"Content-Type": "application/json"}
LONG = "limit=" + "9" * 5000


def assert_problem(reply, status, code):
    problem = reply.json()
    assert (reply.status_code, problem["type"]) == (status, f"/problems/{code}"), problem
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["title"]
    return problem


@pytest.fixture(autouse=True)
async def nothing_stored(http, deployed):
    yield
    assert (await http.get("/jobs")).json()["jobs"] == []


@pytest.mark.parametrize("body", [b"", b"{", b"nope", b'{"type": "add",}', b"\xff\xfe", b'{"type": NaN}'])
async def test_what_is_not_json_is_a_bad_request(http, body):
    assert_problem(await http.post("/jobs", content=body, headers=JSON), 400, "bad-json")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None]
)
async def test_another_media_type_is_refused_so_that_no_page_elsewhere_can_post(http, kind):
    headers = {} if kind is None else {"Content-Type": kind}

    problem = assert_problem(await http.post("/jobs", content=b'{"type":"echo"}', headers=headers), 415, "not-json")

    assert "Content-Type: application/json" in problem["detail"]


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
async def test_the_media_type_may_be_written_in_any_way(http, kind):
    reply = await http.post("/jobs", content=b'{"type":"nobody"}', headers={"Content-Type": kind})

    assert_problem(reply, 404, "function-unknown")


async def test_an_unknown_function_is_not_found_and_near_names_are_told(http):
    problem = assert_problem(await http.post("/jobs", json={"type": "ad"}), 404, "function-unknown")

    assert problem["near"] == ["add"]


async def test_each_field_that_does_not_fit_is_named(http):
    body = {"type": "add", "payload": {"b": "x", "c": 1}}

    problem = assert_problem(await http.post("/jobs", json=body), 422, "payload-invalid")

    assert {e["field"] for e in problem["errors"]} == {"/a", "/b", "/c"}


async def test_a_value_that_is_none_of_a_union_says_why_it_is_each_not(http):
    body = {"type": "union", "payload": {"when": {"x": "q"}}}

    problem = assert_problem(await http.post("/jobs", json=body), 422, "payload-invalid")

    assert problem["errors"] == [
        {
            "field": "/when",
            "message": '/x "q" is not of type "integer", and {"x":"q"} is not of type "integer"',
        }
    ]


@pytest.mark.parametrize("payload", [[1], "text", 5, True])
async def test_a_payload_of_another_kind_is_refused(http, payload):
    assert_problem(await http.post("/jobs", json={"type": "add", "payload": payload}), 422, "payload-invalid")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "/type"),
        ({"type": 5}, "/type"),
        ({"type": "echo", "job_type": "add"}, "/job_type"),
        ({"type": "echo", "payload": 1, "input": 2}, "/input"),
        ({"type": "echo", "prio": 1}, "/prio"),
        ({"type": "echo", "priority": 1.5}, "/priority"),
        ({"type": "echo", "priority": True}, "/priority"),
        ({"type": "echo", "max_attempts": 0}, "/max_attempts"),
        ({"type": "echo", "max_attempts": "3"}, "/max_attempts"),
    ],
)
async def test_a_job_that_is_no_job_is_refused_by_field(http, body, field):
    problem = assert_problem(await http.post("/jobs", json=body), 422, "job-invalid")

    assert [e["field"] for e in problem["errors"]] == [field]


@pytest.mark.parametrize("body", [b"[]", b"null", b'"echo"', b"5"])
async def test_a_body_that_is_no_object_is_refused_with_an_example(http, body):
    problem = assert_problem(await http.post("/jobs", content=body, headers=JSON), 422, "job-invalid")

    assert '"type"' in problem["detail"]


@pytest.mark.parametrize("priority", [3, -1, "urgent"])
async def test_a_lane_out_of_range_names_the_lanes(http, priority):
    body = {"type": "echo", "priority": priority}

    assert (
        "low (0), normal (1), high (2)"
        in assert_problem(await http.post("/jobs", json=body), 422, "lane-unknown")["detail"]
    )


async def test_a_body_over_the_limit_is_refused_by_its_length(http):
    assert_problem(await http.post("/jobs", json={"type": "echo", "payload": "x" * 20_001}), 413, "too-large")


async def test_a_body_over_the_limit_is_refused_while_it_streams(http):
    async def endless():
        for _ in range(10_000):
            yield b" " * 10_000

    assert_problem(await http.post("/jobs", content=endless(), headers=JSON), 413, "too-large")


@pytest.mark.parametrize(
    "path", ["/jobs/x", "/jobs/01890000-0000-7000-8000-000000000000", "/jobs/x/result", "/job/x"]
)
async def test_a_job_that_never_was_is_not_found(http, path):
    assert_problem(await http.get(path), 404, "job-not-found")


@pytest.mark.parametrize("levels", [300, 600])
async def test_a_payload_nested_beyond_what_can_be_shown_is_refused(http, levels):
    body = b'{"type":"echo","payload":' + b"[" * levels + b"]" * levels + b"}"

    assert_problem(await http.post("/jobs", content=body, headers=JSON), 422, "payload-invalid")


async def test_an_integer_beyond_64_bits_is_refused_and_not_rounded(http):
    body = b'{"type":"echo","payload":123456789012345678901234567890}'

    problem = assert_problem(await http.post("/jobs", content=body, headers=JSON), 422, "payload-invalid")

    assert (
        problem["errors"][0]["message"]
        == "cannot be stored: an integer has at most 64 bits; give a larger one as text"
    )


async def test_a_number_of_many_digits_is_no_priority(http):
    assert_problem(await http.post("/jobs", json={"type": "echo", "priority": "9" * 5000}), 422, "lane-unknown")


async def test_many_wrong_fields_are_told_of_the_first(http):
    body = {"type": "ints", "payload": {"xs": ["a"] * 1000}}

    problem = assert_problem(await http.post("/jobs", json=body), 422, "payload-invalid")

    assert len(problem["errors"]) == 20


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=" + "9" * 5000,
        "cursor=" + "9" * 30 + "-0",
        "cursor=٣-٣",
        "limit=501",
        "limit=x",
        "status=done",
        "cursor=x",
        "order=asc",
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(http, query):
    assert_problem(await http.get(f"/jobs?{query}"), 422, "query-invalid")


async def test_a_path_or_method_that_is_not_there_is_a_problem_too(http):
    assert_problem(await http.get("/nothing"), 404, "no-such-path")
    assert_problem(await http.put("/jobs/x"), 405, "method-not-allowed")
    refused = await http.put("/jobs")
    assert_problem(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == "DELETE, GET, HEAD, POST"
    assert (await http.head("/jobs")).status_code == 200


def every_error(kind=LaneworkError):
    for one in kind.__subclasses__():
        if one.__module__ == "runtime.errors":
            yield one
        yield from every_error(one)


@pytest.mark.parametrize("kind", set(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status(kind):
    assert any(base in problems._STATUS for base in kind.__mro__)


def test_every_error_stands_in_the_tree_with_its_code():
    for kind in every_error():
        assert re.search(rf"{kind.__name__} +{kind.code}\b", errors.__doc__), kind
