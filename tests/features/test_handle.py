"""Enqueueing by a handler's own parameters."""

import importlib
import sys

import pytest

from runtime.errors import ClientMissing

WAIT = 20
WORDS = """
    from runtime import function
    @function(timeout=5)
    async def handle(text: str, least: int = 1) -> int:
        return len([word for word in text.split() if len(word) >= least])
"""
WHOLE = """
    from runtime import function
    @function()
    async def handle(payload: list[int]) -> int:
        return sum(payload)
"""


ANY_NAMES = """
    from runtime import function

    @function()
    async def handle(**payload: int) -> int:
        return sum(payload.values())
"""


@pytest.fixture
def imported(folder, monkeypatch):
    """What a program gets that imports the functions' package; their workers load the same files."""
    folder.write(words=WORDS, whole=WHOLE, any_names=ANY_NAMES)
    (folder.path / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(folder.path.parent))
    yield lambda name: importlib.import_module(f"{folder.path.name}.{name}").handle
    for name in [name for name in sys.modules if name.partition(".")[0] == folder.path.name]:
        del sys.modules[name]


async def test_a_handle_enqueues_with_the_client_that_is_open(client, worker, folder, settings, imported):
    async with worker(settings.model_copy(update={"functions_dir": folder.path})):
        job = await imported("words").enqueue(text="one two", least=2)
        done = await client.wait(job, WAIT)
        later = await imported("words").options(priority="low", delay="1h").enqueue(text="x")
        whole = await client.wait(await imported("whole").enqueue(payload=[1, 2]), WAIT)
        named = await client.wait(await imported("any_names").enqueue(a=1, b=2), WAIT)

    assert (done.type, done.payload, done.result) == ("words", {"text": "one two", "least": 2}, 2)
    assert (later.lane, later.status) == ("low", "scheduled")
    assert (whole.type, whole.payload, whole.result) == ("whole", [1, 2], 3)
    assert (named.payload, named.result) == ({"a": 1, "b": 2}, 3)


async def test_a_handle_with_a_context_enqueues_if_the_attempt_completes(
    client, worker, folder, settings, imported
):
    folder.write(
        parent="""
        import sys
        from runtime import Context
        async def handle(ctx: Context) -> str:
            from functions.words import handle as words
            return words.enqueue(ctx, text="one two three")
        """
    )
    async with worker(settings.model_copy(update={"functions_dir": folder.path})):
        parent = await client.wait((await client.enqueue("parent")).id, WAIT)
        child = await client.wait(parent.result, WAIT)

    assert (child.type, child.result, child.parent) == ("words", 3, parent.id)


async def test_a_marked_handler_is_called_as_before(imported):
    assert await imported("words")("a bc", least=2) == 1


async def test_without_a_client_it_says_what_to_do(imported):
    with pytest.raises(ClientMissing, match=r"async with Lanework\(\)"):
        await imported("words").enqueue(text="one")


async def test_a_payload_goes_by_keyword(client, imported):
    with pytest.raises(TypeError, match="by keyword"):
        await imported("words").enqueue("one two")
