"""The Lua scripts of `lua/`, each called by its name; every change of a job's state is one of them."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

from redis.asyncio.client import Pipeline
from redis.exceptions import NoScriptError

from runtime.store.connect import Redis, SyncRedis, translated

_WITH = "-- with: "


class Script:
    """One `.lua` file behind the shared prelude and the parts that its first line names.

    Its header states KEYS, ARGV and the reply.
    """

    def __init__(self, name: str) -> None:
        folder = files("runtime.store") / "lua"
        self.name = name
        own = (folder / f"{name}.lua").read_text()
        first = own.partition("\n")[0]
        parts = first.removeprefix(_WITH).split(", ") if first.startswith(_WITH) else []
        self.text = "".join((folder / f"_{part}.lua").read_text() for part in ("shared", *parts)) + own
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, client: Redis, root: str, *args: str | bytes | int) -> Any:
        """Runs it on the shard whose keys begin with `root`. Raises StoreError."""
        execute: Any = client.execute_command
        with translated():
            try:
                return await execute("EVALSHA", self.sha, 1, root, *args)
            except NoScriptError:  # a new server, or SCRIPT FLUSH
                return await execute("EVAL", self.text, 1, root, *args)

    def queue(self, pipe: Pipeline, root: str, *args: str | bytes | int) -> None:
        """Appends the call to a pipeline, whose reply may be NoScriptError."""
        queue: Any = pipe.execute_command
        queue("EVALSHA", self.sha, 1, root, *args)

    def sync(self, client: SyncRedis, root: str, *args: str | bytes | int) -> Any:
        """The same from a thread."""
        execute: Any = client.execute_command
        with translated():
            try:
                return execute("EVALSHA", self.sha, 1, root, *args)
            except NoScriptError:
                return execute("EVAL", self.text, 1, root, *args)


ENQUEUE = Script("enqueue")
TAKE = Script("take")
SETTLE = Script("settle")
RENEW = Script("renew")
PROGRESS = Script("progress")
RECLAIM = Script("reclaim")
CANCEL = Script("cancel")
MOVE = Script("move")
REPLAY = Script("replay")
PURGE = Script("purge")
CONTROL = Script("control")
TICK = Script("tick")
