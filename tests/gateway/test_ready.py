"""Ready means that a job can be posted and is known to somebody."""

import pytest
import redis as redis_py

from runtime.errors import FunctionBroken
from runtime.store.keys import Keys
from runtime.store.registry import Registry
from tests.conftest import as_admin, deploy, looking


async def withdraw(settings, *names):
    async with looking(settings) as redis:
        await Registry(redis, settings).withdraw(names)


async def echo(payload: object) -> object:
    return payload


async def test_a_gateway_is_not_ready_before_it_knows_a_function(http, client):
    before = await http.get("/readyz")
    refused = await http.post("/jobs", json={"type": "echo"})
    await deploy(client, echo=echo)
    after = await http.get("/readyz")

    assert (before.status_code, before.json()["type"]) == (503, "/problems/not-ready")
    assert (refused.status_code, refused.json()["type"]) == (404, "/problems/function-unknown")
    assert "no worker has come up yet" in refused.json()["detail"]
    assert after.status_code == 200
    assert (await http.post("/jobs", json={"type": "echo"})).status_code == 202


async def test_a_setting_says_which_functions_to_expect(client, settings):
    from runtime.client import Lanework
    from runtime.errors import NotReady

    await deploy(client, echo=echo)
    async with Lanework(settings.model_copy(update={"expect": ("echo", "other")})) as one:
        with pytest.raises(NotReady, match="with other"):
            await one.check_ready()
        await deploy(client, other=echo)
        await one.check_ready()


async def test_a_name_that_is_wrong_is_told_so_once_others_are_known(http, client):
    await deploy(client, echo=echo)

    assert "no worker" not in (await http.post("/jobs", json={"type": "ecko"})).json()["detail"]


async def test_known_functions_survive_the_loss_of_all_data_and_of_all_workers(http, client, settings):
    await deploy(client, echo=echo)
    assert (await http.get("/readyz")).status_code == 200
    server = redis_py.Redis.from_url(as_admin(settings.redis_url))
    server.delete(*server.scan_iter(f"{settings.prefix}:*"))
    server.close()

    assert (await http.get("/functions")).json()["functions"][0]["name"] == "echo"
    assert (await http.get("/readyz")).status_code == 200
    assert (await http.post("/jobs", json={"type": "echo"})).status_code == 202


async def test_what_was_told_again_after_a_loss_can_be_withdrawn(http, client, settings):
    await deploy(client, echo=echo)
    assert (await http.get("/readyz")).status_code == 200
    server = redis_py.Redis.from_url(as_admin(settings.redis_url))
    server.delete(*server.scan_iter(f"{settings.prefix}:*"))
    server.close()
    assert (await http.get("/functions")).json()["functions"] != []
    await withdraw(settings, "echo")

    assert (await http.get("/functions")).json()["functions"] == []


async def test_the_last_function_that_is_withdrawn_stays_withdrawn(http, client, settings):
    await deploy(client, echo=echo)
    assert (await http.get("/readyz")).status_code == 200
    await withdraw(settings, "echo")

    assert (await http.get("/functions")).json()["functions"] == []


async def test_a_server_without_memory_makes_it_unready(settings, embedded_url, tmp_path):
    from runtime.client import Lanework
    from runtime.errors import StoreUnavailable

    server = redis_py.Redis.from_url(embedded_url)
    own = settings.model_copy(update={"redis_url": embedded_url})
    async with Lanework(own) as one:
        await deploy(one, echo=echo)
        await one.check_ready()
        server.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreUnavailable):
                await one.check_ready()
        finally:
            server.config_set("maxmemory", 0)
        await one.check_ready()
    server.delete(*server.scan_iter(f"{settings.prefix}:*"))
    server.close()


async def test_a_read_only_replica_makes_it_unready(settings, embedded_url):
    from runtime.client import Lanework
    from runtime.errors import StoreUnavailable

    server = redis_py.Redis.from_url(embedded_url)
    async with Lanework(settings.model_copy(update={"redis_url": embedded_url})) as one:
        await deploy(one, echo=echo)
        server.execute_command("REPLICAOF", "127.0.0.1", "1")
        try:
            with pytest.raises(StoreUnavailable):
                await one.check_ready()
        finally:
            server.execute_command("REPLICAOF", "NO", "ONE")
        await one.check_ready()
    server.delete(*server.scan_iter(f"{settings.prefix}:*"))
    server.close()


async def test_a_job_for_what_loads_nowhere_is_refused_with_the_reason(http, client, worker, settings, folder):
    folder.write(torn="import nothing_of_that_name\ndef handle(): ...", fine="def handle(): ...")
    async with worker(settings.model_copy(update={"functions_dir": folder.path})):
        reply = await http.post("/jobs", json={"type": "torn"})
        with pytest.raises(FunctionBroken):
            await client.enqueue("torn")

    assert (reply.status_code, reply.json()["type"]) == (409, "/problems/function-broken")
    assert "nothing_of_that_name" in reply.json()["detail"]


async def test_the_probe_leaves_no_key(http, client, settings):
    await deploy(client, echo=echo)
    await http.get("/readyz")
    server = redis_py.Redis.from_url(as_admin(settings.redis_url))

    assert server.pttl(Keys(settings.prefix).mark(0)) <= 1000
    server.close()
