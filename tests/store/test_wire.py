"""The connection that scripts share."""

import asyncio
import time

import pytest
from redis import exceptions
from redis.asyncio import ConnectionPool

from runtime.store.wire import Wire


@pytest.fixture
async def wire(redis):
    yield redis.wire
    redis.wire.close()


async def test_each_of_many_calls_at_once_gets_its_own_answer(wire):
    answers = await asyncio.gather(*(wire.execute_command("ECHO", str(number)) for number in range(500)))

    assert answers == [str(number).encode() for number in range(500)]


async def test_a_refusal_is_raised_to_its_caller_alone(wire):
    refused, answered = await asyncio.gather(
        wire.execute_command("NO-SUCH-COMMAND"),
        wire.execute_command("ECHO", "here"),
        return_exceptions=True,
    )

    assert isinstance(refused, exceptions.ResponseError)
    assert answered == b"here"


async def test_what_is_sent_together_is_answered_together_refusals_among_it(wire):
    refused, answered = await wire.call(("EVALSHA", "0" * 40, 0), ("ECHO", "here"))

    assert isinstance(refused, exceptions.NoScriptError)
    assert answered == b"here"


async def test_the_answer_to_a_caller_who_has_gone_is_nobody_elses(wire, settings):
    await wire.execute_command("PING")
    gone = asyncio.create_task(wire.execute_command("BLPOP", f"{settings.prefix}:none", 0.2))
    await asyncio.sleep(0)
    gone.cancel()

    assert await wire.execute_command("ECHO", "mine") == b"mine"


async def test_a_call_that_is_overdue_fails_and_the_next_one_connects_anew(wire, settings):
    first = await wire.execute_command("CLIENT", "ID")

    with pytest.raises(exceptions.TimeoutError):
        await wire.call(("BLPOP", f"{settings.prefix}:none", 30), timeout=0.1)

    assert await wire.execute_command("CLIENT", "ID") != first


async def test_a_lost_connection_fails_what_waits_and_the_next_call_connects_anew(wire, redis, settings):
    connection = await wire.execute_command("CLIENT", "ID")
    waits = asyncio.create_task(wire.execute_command("BLPOP", f"{settings.prefix}:none", 30))
    await asyncio.sleep(0)

    await redis.client_kill_filter(_id=connection)

    with pytest.raises(exceptions.ConnectionError):
        await waits
    assert await wire.execute_command("PING") == b"PONG"


async def test_a_server_that_is_not_there_is_an_error_within_the_timeout():
    wire = Wire(ConnectionPool(host="127.0.0.1", port=1).make_connection, 0.5)
    begun = time.monotonic()

    with pytest.raises(exceptions.RedisError):
        await wire.execute_command("PING")

    assert time.monotonic() - begun < 1


async def test_a_server_that_takes_the_connection_and_says_nothing_is_an_error_within_the_timeout():
    accepted = []
    silent = await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1", 0)
    wire = Wire(ConnectionPool(host="127.0.0.1", port=silent.sockets[0].getsockname()[1]).make_connection, 0.3)
    begun = time.monotonic()

    with pytest.raises(exceptions.TimeoutError):
        await asyncio.gather(wire.execute_command("PING"), wire.execute_command("PING"))

    assert time.monotonic() - begun < 1
    wire.close()
    silent.close()
    for writer in accepted:
        writer.close()
        await writer.wait_closed()
