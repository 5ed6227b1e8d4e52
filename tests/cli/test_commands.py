"""The command line against a gateway that runs."""

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture
def lanework(http):
    """Runs a command on the test's gateway; returns exit code, standard output and standard error."""
    import asyncio

    async def run(*arguments, stdin=None):
        env = {name: value for name, value in os.environ.items() if not name.startswith("LANEWORK_")}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "runtime.cli.main",
            *arguments,
            env=env | {"LANEWORK_URL": str(http.base_url)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate(stdin)
        return process.returncode, out.decode(), err.decode()

    return run


async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_call_prints_the_id_of_the_new_job(lanework, client, worker):
    async with worker(add=add):
        code, out, _ = await lanework("call", "add", '{"a": 1, "b": 2}')

    assert code == 0
    assert (await client.get(out.strip())).type == "add"


async def test_call_waits_for_the_result(lanework, worker):
    async with worker(add=add):
        assert await lanework("call", "add", '{"a": 1, "b": 2}', "--wait") == (0, "3\n", "")
        _, out, _ = await lanework("call", "add", "-", "--wait", "--json", stdin=b'{"a": 1, "b": 2}')

    assert json.loads(out)["status"] == "completed"


async def test_ctrl_c_while_a_call_waits_tells_which_job_goes_on(http, client, worker):
    import asyncio
    import signal

    async def slow() -> None:
        await asyncio.sleep(600)

    async with worker(slow=slow):
        env = os.environ | {"LANEWORK_URL": str(http.base_url)}
        command = [sys.executable, "-m", "runtime.cli.main", "call", "slow", "--wait"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = await asyncio.create_subprocess_exec(*command, env=env, **pipes)
        while not (jobs := (await client.page()).jobs):
            await asyncio.sleep(0.01)
        while (await client.get(jobs[0].id)).status != "running":
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        await client.cancel(jobs[0].id)

    assert (process.returncode, out.decode()) == (130, f"{jobs[0].id}\n")
    assert f"lanework job {jobs[0].id}" in err.decode()


async def test_call_of_a_job_that_fails_shows_the_error_and_exits_with_1(lanework, worker):
    async def broken() -> None:
        from runtime import Permanent

        raise Permanent("bad day")

    async with worker(broken=broken):
        code, out, err = await lanework("call", "broken", "--wait")

    assert (code, out) == (1, "")
    assert "Permanent: bad day" in err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["call", "ad", "{}"], 3, "did you mean add"),
        (["call", "ad", "{}"], 3, "error function-unknown: "),
        (["call", "add", '{"a": 1}'], 3, "/b: is required"),
        (["call", "add", "{a: 1}"], 2, "not JSON"),
        (["call", "add", '{"a":1,"b":2}', "--priority", "9"], 3, "no lane is"),
        (["call", "add", "{}", "--url", "http://127.0.0.1:1"], 4, "does not answer"),
        (["jobs", "--status", "odd"], 3, "status is one of"),
        (["jobs", "--limit", "0"], 2, "limit"),
        (["nothing"], 2, "No such command"),
    ],
)
async def test_wrong_use_exits_with_its_own_code_and_says_what_to_do(lanework, worker, arguments, code, told):
    async with worker(add=add):
        got, out, err = await lanework(*arguments)

    assert (got, out) == (code, "")
    assert told in err


async def test_jobs_and_functions_are_tables_for_people_and_json_for_programs(lanework, worker, client):
    async with worker(add=add):
        job = await client.wait((await client.enqueue("add", {"a": 1, "b": 2})).id, 20)
        _, table, _ = await lanework("jobs")
        _, listed, _ = await lanework("jobs", "--json")
        _, functions, _ = await lanework("functions")

    assert job.id in table
    assert "completed" in table
    assert json.loads(listed)["jobs"][0]["id"] == job.id
    assert "Add two numbers." in functions


async def test_functions_shows_the_traceback_of_a_module_that_does_not_load(lanework, worker, settings, folder):
    folder.write(torn="def helper():\n    return 1 / 0\n\nhelper()\n")
    async with worker(settings.model_copy(update={"functions_dir": folder.path})):
        code, out, err = await lanework("functions")

    assert code == 0
    assert "torn" in out
    assert "line 2, in helper" in err
    assert "ZeroDivisionError: division by zero" in err


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:secret@somewhere:6379/0", "redis://user:***@somewhere:6379/0"),
        (
            "redis+sentinel://:secret@one:1,two:2/jobs?sentinel_password=secret&db=1",
            "redis+sentinel://:***@one:1,two:2/jobs?sentinel_password=***&db=1",
        ),
    ],
)
async def test_settings_are_listed_with_their_meaning_and_without_passwords(lanework, monkeypatch, url, shown):
    monkeypatch.setenv("REDIS_URL", url)

    _, table, _ = await lanework("settings")
    _, listed, _ = await lanework("settings", "--json")

    assert "LANEWORK_CONCURRENCY" in table
    assert json.loads(listed)["LANEWORK_REDIS_URL"] == shown
    assert "secret" not in table + listed


async def test_a_misspelt_setting_stops_every_command(lanework, monkeypatch):
    assert (await lanework("settings"))[0] == 0

    result = subprocess.run(
        [sys.executable, "-m", "runtime.cli.main", "settings"],
        env=os.environ | {"LANEWORK_CONCURENCY": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 3
    assert "did you mean LANEWORK_CONCURRENCY" in result.stderr


async def test_a_job_is_scheduled_moved_and_cancelled(lanework, client, worker):
    async with worker(add=add):
        _, out, _ = await lanework("call", "add", '{"a": 1, "b": 2}', "--delay", "1h")
        job_id = out.strip()
        moved = await lanework("move", job_id, "--delay", "2h")
        cancelled = await lanework("cancel", job_id, "--json")
        again = await lanework("cancel", job_id)

    assert (moved[0], "is scheduled for" in moved[2]) == (0, True)
    assert json.loads(cancelled[1])["status"] == "cancelled"
    assert (again[0], "status-conflict" in again[2]) == (3, True)


async def test_everything_is_paused_and_resumed(lanework, client, worker):
    async with worker(add=add):
        assert (await lanework("pause", "add"))[2].strip() == "Function add paused"
        assert await client.paused() == ["function:add"]
        assert (await lanework("resume", "add"))[0] == 0
        assert (await lanework("pause"))[2].strip() == "Job processing paused"
        assert (await lanework("resume"))[2].strip() == "Job processing resumed"


async def test_failed_jobs_are_shown_run_again_and_deleted(lanework, client, worker):
    from runtime import Permanent, function

    @function(retry=1)
    async def broken() -> None:
        raise Permanent("no such thing")

    async with worker(broken=broken):
        job = await client.enqueue("broken")
        await client.wait(job.id, 20)
        shown = await lanework("dead", "broken")
        replayed = await lanework("dead", "broken", "--replay", "--error", "no such")
        await client.wait(job.id, 20)
        other = await client.enqueue("broken")
        await client.wait(other.id, 20)
        some = await lanework("dead", "broken", "--purge", "--limit", "1")
        purged = await lanework("dead", "broken", "--purge")

    assert "no such thing" in shown[1]
    assert some[2].strip() == "1 failed jobs deleted"
    assert replayed[2].strip() == "1 jobs run again"
    assert purged[2].strip() == "1 failed jobs deleted"
    assert (await lanework("dead", "nothing"))[0] == 3


async def test_an_odd_id_reaches_no_other_path(lanework, client, worker):
    async def fails() -> None:
        from runtime import Permanent

        raise Permanent("no")

    async with worker(fails=fails):
        dead = await client.wait((await client.enqueue("fails")).id, 20)
        for odd in ("../functions/fails/dead", "..", ".", "a b", "\udc80", "é", "a?b#c", "%2e%2e"):
            for command in (["cancel", odd], ["job", odd], ["retry", odd], ["dead", odd], ["pause", odd]):
                code, _, err = await lanework(*command)
                assert (code, "Traceback" in err) == (3, False), (command, err)

    assert (await client.get(dead.id)).status == "failed"


async def test_integers_are_exact_on_the_command_line(lanework, worker):
    async def echo(payload: object) -> object:
        return payload

    async with worker(echo=echo):
        code, _, err = await lanework("call", "echo", "36893488147419103233")
        _, out, _ = await lanework("call", "echo", "9007199254740993", "--wait")

    assert (code, "64 bits" in err) == (3, True)
    assert out == "9007199254740993\n"


@pytest.mark.parametrize("url", ["nonsense", "http://[", "http://\udc80", "ftp://localhost", "http://a:99999"])
async def test_an_odd_url_is_told_without_a_traceback(lanework, url):
    code, _, err = await lanework("jobs", "--url", url)

    assert code in (3, 4)
    assert "error" in err
    assert "Traceback" not in err


async def test_a_page_hint_keeps_the_filters(lanework, client, worker):
    async with worker(add=add):
        await client.enqueue_many("add", [{"a": n, "b": n} for n in range(3)])
        _, _, err = await lanework("jobs", "--limit", "1", "--type", "add")

    assert "--limit 1 --type add --cursor" in err


async def test_a_function_and_a_lane_cannot_be_paused_together(lanework, worker, client):
    async with worker(add=add):
        code, _, err = await lanework("pause", "add", "--lane", "low")

    assert (code, await client.paused()) == (2, [])
    assert "not both" in err


async def test_one_job_is_shown_whole(lanework, client, worker):
    async def fails() -> None:
        raise ValueError("a bad day")

    async with worker(fails=fails):
        job = await client.wait((await client.enqueue("fails", max_attempts=2, backoff=0)).id, 20)
        code, out, err = await lanework("job", job.id)
        _, workers, _ = await lanework("workers")

    assert code == 0
    assert job.id in out
    assert out.count("ValueError: a bad day") == 2
    assert "Traceback" in err or "in fails" in err
    assert "fails" in workers


async def test_what_waits_is_cleared(lanework, client, worker):
    async with worker(add=add):
        await client.pause()
        await client.enqueue_many("add", [{"a": n, "b": n} for n in range(300)])
        code, _, err = await lanework("clear", "add")
        await client.resume()

    assert (code, "300 jobs cancelled" in err) == (0, True)
