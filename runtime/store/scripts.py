"""The Lua scripts of `lua/`, each called by its name; every change of a job's state is one of them."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Any

from redis.exceptions import NoScriptError

from runtime.store.connect import Redis, translated
from runtime.store.thread_client import ThreadClient
from runtime.store.wire import Command

_WITH = "-- with: "


class Script:
    """One `.lua` file behind the keys, the shared prelude, and the parts that its first line names.

    Its header states KEYS, ARGV and the reply.
    """

    def __init__(self, name: str) -> None:
        folder = files("runtime.store") / "lua"
        self.name = name
        own = (folder / f"{name}.lua").read_text()
        first = own.partition("\n")[0]
        parts = first.removeprefix(_WITH).split(", ") if first.startswith(_WITH) else []
        self.text = "".join((folder / f"_{part}.lua").read_text() for part in ("keys", "shared", *parts)) + own
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()

    def by_sha(self, root: str, *args: str | bytes | int) -> Command:
        """The call, whose answer may be NoScriptError."""
        return ("EVALSHA", self.sha, 1, root, *args)

    def whole(self, root: str, *args: str | bytes | int) -> Command:
        """The call with the script itself, for a server that does not know it."""
        return ("EVAL", self.text, 1, root, *args)

    async def __call__(self, client: Redis, root: str, *args: str | bytes | int) -> Any:
        """Runs it on the shard whose keys begin with `root`. Raises StoreError."""
        with translated():
            try:
                return await client.wire.execute_command(*self.by_sha(root, *args))
            except NoScriptError:  # a new server, or SCRIPT FLUSH
                return await client.wire.execute_command(*self.whole(root, *args))

    def sync(self, client: ThreadClient, root: str, *args: str | bytes | int) -> Any:
        """The same from a thread."""
        with client.at(root) as server:
            execute: Any = server.execute_command
            try:
                return execute(*self.by_sha(root, *args))
            except NoScriptError:
                return execute(*self.whole(root, *args))


ENQUEUE = Script("enqueue")
TAKE = Script("take")
STAGE = Script("stage")
SETTLE = Script("settle")
START = Script("start")
RENEW = Script("renew")
PROGRESS = Script("progress")
EMIT = Script("emit")
RECLAIM = Script("reclaim")
CANCEL = Script("cancel")
MOVE = Script("move")
REPLAY = Script("replay")
PURGE = Script("purge")
PAUSE = Script("pause")
CHARGE = Script("charge")
TICK = Script("tick")
ARCHIVED = Script("archived")
ERASE = Script("erase")
