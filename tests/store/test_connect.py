import pytest
import structlog

from runtime import settings as settings_module
from runtime.errors import StoreMismatch, StoreUnavailable, StoreUnsupported
from runtime.store.connect import ServerClient, opened
from runtime.store.server_check import check_server


async def test_processes_that_disagree_about_lanes_are_refused(redis, settings):
    await check_server(redis, settings)

    with pytest.raises(StoreMismatch, match="LANEWORK_LANES"):
        await check_server(redis, settings.model_copy(update={"lanes": ("slow", "fast")}))
    with pytest.raises(StoreMismatch, match="LANEWORK_SHARDS"):
        await check_server(redis, settings.model_copy(update={"shards": 2}))
    await check_server(redis, settings)


@pytest.mark.parametrize(
    "info", [{"redis_version": "6.2.14"}, {"redis_version": "7.2.4", "valkey_version": "7.2.5"}]
)
async def test_a_server_that_is_too_old_is_refused_clearly(redis, settings, monkeypatch, info):
    async def told(self, *command):
        return info if command == ("INFO", "server") else {}

    monkeypatch.setattr(ServerClient, "ask", told)

    with pytest.raises(StoreUnsupported, match=r"is too old: Lanework needs Redis 7\.0\+ or Valkey 8\+"):
        await check_server(redis, settings)


async def test_an_evicting_server_is_warned_of(redis, settings):
    before = (await redis.config_get("maxmemory-policy"))["maxmemory-policy"]
    await redis.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with structlog.testing.capture_logs() as logs:
            await check_server(redis, settings)
    finally:
        await redis.config_set("maxmemory-policy", before)

    assert [(log["event"], log["policy"]) for log in logs] == [("server.evicts", "allkeys-lru")]


async def test_a_server_that_is_not_there_is_unavailable():
    away = settings_module.load({}, redis_url="redis://127.0.0.1:1")

    async with opened(away) as client:
        with pytest.raises(StoreUnavailable):
            await check_server(client, away)
