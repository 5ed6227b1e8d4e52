"""What the worker runs, kept as the functions folder is."""

from __future__ import annotations

import asyncio
import time

from runtime import log
from runtime.errors import FunctionInvalid, LaneUnknown
from runtime.handlers.catalogue import Catalogue
from runtime.handlers.loader import Source, Sources, load, unload
from runtime.handlers.spec import Spec
from runtime.jobs.failure import Exited, LoadTimeout, load_trace
from runtime.settings import Settings
from runtime.worker.processes.pool import LOAD_WITHIN, LoadFailed, Pool
from runtime.worker.threads import aside

WATCH_EVERY = 0.4  # seconds; twice that and a load are well below the 2 s that a change may take
TRY_AGAIN = 10.0  # seconds after which a module that did not load is tried again, and twice that the next time
_RAREST = 300.0
_AT_ONCE = 8
_AT_START = 1.0  # seconds that the start waits for modules; a slower one does not delay the others
_KEPT = 3  # versions of a function on the event loop that stay loaded, for attempts that still run


class Deployer:
    """Loads what is new or has changed. Each module is tried in a process of its own first: one that crashes,
    hangs or fails touches nothing here, and its last good version goes on."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        """Raises FunctionInvalid where there is no folder."""
        self.catalogue = Catalogue()
        self.loading: list[str] = []  # modules that were there at the start and are not in the catalogue yet
        self._settings = settings
        self._pool = pool
        self._sources = Sources(settings.functions_dir)
        self._seen: dict[str, Source] = {}  # as the last look found them
        self._tried: dict[str, str] = {}  # the versions that load, were loaded, or did not load
        self._again: dict[
            str, tuple[float, float]
        ] = {}  # when to try a broken one again, and the pause before that
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._good: dict[str, Spec] = {}
        self._broken: dict[str, str] = {}
        self._here: dict[str, list[Source]] = {}  # versions that were imported into this process
        self._changed = False
        self._started = False
        self._trouble = ""
        self._log = log.get("deploy")

    async def start(self) -> None:
        """The first look, and what it finds that loads soon; `look` brings the rest. Raises FunctionUnknown where a
        function that was asked for is not there."""
        self._seen = await asyncio.to_thread(self._sources.scan)
        self._follow(self._seen)
        if self._loading:
            await asyncio.wait(self._loading.values(), timeout=_AT_START)
        self._changed = False
        self._started = not self._loading
        self._assemble(first=self._started)

    async def look(self) -> bool:
        """Whether there is anything new. A file counts once two looks find it the same: it was written whole;
        a function counts once it is loaded, however long others take."""
        if self._settings.watch:
            await self._scan()
        ended = not self._started and not self._loading
        if not self._changed and not ended:
            return False
        self._changed = False
        self._started = self._started or ended
        self._assemble(first=ended)
        return True

    async def _scan(self) -> None:
        try:
            found = await asyncio.to_thread(self._sources.scan)
        except OSError as error:
            self._tell_trouble(str(error))
            return
        self._tell_trouble("; ".join(self._sources.unreadable.values()))
        before, self._seen = self._seen, found
        self._follow({name: source for name, source in found.items() if before.get(name) == source})

    async def close(self) -> None:
        """Gives up what is being loaded."""
        for task in self._loading.values():
            task.cancel()
        await asyncio.gather(*self._loading.values(), return_exceptions=True)

    def _tell_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._log.warning("folder.unreadable", folder=str(self._settings.functions_dir), error=trouble)
        self._trouble = trouble

    def _follow(self, settled: dict[str, Source]) -> None:
        """Starts to load what is new among the files that are not being written."""
        for name in [
            name for name in self._tried if name not in self._seen and name not in self._sources.unreadable
        ]:
            self._remove(name)
        for source in settled.values():
            if self._wanted(source.name) and (
                self._tried.get(source.name) != source.version or self._is_to_be_tried_again(source.name)
            ):
                if source.name in self._loading:
                    self._loading[source.name].cancel()
                again = source.name in self._tried
                if self._tried.get(source.name) != source.version:
                    self._again.pop(source.name, None)
                self._tried[source.name] = source.version
                task = asyncio.get_running_loop().create_task(self._load(source, again=again))
                self._loading[source.name] = task

    def _is_to_be_tried_again(self, name: str) -> bool:
        return name in self._again and name not in self._loading and time.monotonic() >= self._again[name][0]

    def _remove(self, name: str) -> None:
        del self._tried[name]
        self._again.pop(name, None)
        if name in self._loading:
            self._loading.pop(name).cancel()
        self._broken.pop(name, None)
        self._changed = True
        if self._good.pop(name, None) is not None:
            self._log.info("function.removed", function=name)

    def _wanted(self, name: str) -> bool:
        """Where only some functions are run, modules that none of them names are looked at for aliases alone."""
        only = self._settings.functions
        return not only or name in only or any(other not in self._seen for other in only)

    async def _load(self, source: Source, *, again: bool) -> None:
        try:
            async with self._gate:
                spec = await self._pool.load(source)
                if spec.isolation != "process":
                    spec = await self._import(source)
        except Exception as error:
            reason = str(error) if isinstance(error, LoadFailed) else f"{type(error).__name__}: {error}"
            self._fail(source, reason)
        else:
            self._good[source.name] = spec
            self._broken.pop(source.name, None)
            self._again.pop(source.name, None)
            self._tell_lane(spec)
            if self._started:
                event = "function.changed" if again else "function.added"
                self._log.info(event, function=source.name, version=source.version)
        self._changed = True
        if self._loading.get(source.name) is asyncio.current_task():
            del self._loading[source.name]

    def _tell_lane(self, spec: Spec) -> None:
        try:
            self._settings.lane(spec.policy.lane)
        except LaneUnknown as error:
            fields = {"function": spec.name, "lane": self._settings.default_lane, "error": str(error)}
            self._log.warning("function.lane_unknown", **fields)

    async def _import(self, source: Source) -> Spec:
        """Into this process, on a thread: beside what runs, and at the start too, since what loads there has to
        load again when it changes."""
        here = self._here.setdefault(source.name, [])
        try:
            async with asyncio.timeout(LOAD_WITHIN):
                spec = await aside(load, source)
        except TimeoutError:
            raise LoadTimeout(f"its import into the worker did not end within {LOAD_WITHIN:g} s") from None
        except Exited as error:  # it ends a process of its own that way, but not the worker
            raise LoadFailed(load_trace(error.error)) from None
        if source in here:  # a version came back: it is the newest again
            here.remove(source)
        here.append(source)
        while len(here) > _KEPT:
            unload(here.pop(0))
        return spec

    def _fail(self, source: Source, reason: str) -> None:
        """It is tried again, ever more rarely: what it needs may come later, a library, a file or a calmer host."""
        before = self._again.get(source.name)
        pause = TRY_AGAIN if before is None else min(_RAREST, 2 * before[1])
        self._again[source.name] = time.monotonic() + pause, pause
        if before is not None and self._broken.get(source.name) == reason:
            return
        self._broken[source.name] = reason
        goes_on = self._good.get(source.name)
        self._log.error(
            "function.broken",
            function=source.name,
            version=source.version,
            runs_on=goes_on.version if goes_on else None,
            traceback=reason,
        )

    def _assemble(self, *, first: bool) -> None:
        """`first`: whether all that was there at the start has been loaded by now, and not before."""
        catalogue = Catalogue(broken=dict(self._broken))
        served = self.catalogue.functions  # a newcomer takes no name from those that run
        for name, spec in sorted(self._good.items(), key=lambda item: (item[0] not in served, item[0])):
            try:
                catalogue.add(spec)
            except FunctionInvalid as error:
                catalogue.broken[name] = str(error)
        if only := self._settings.functions:
            if first:
                catalogue.only(only)  # raises where one is not there; later it may go and come
            catalogue.functions = {name: catalogue.functions[name] for name in only if name in catalogue.functions}
            catalogue.broken = {name: trace for name, trace in catalogue.broken.items() if name in only}
        self.catalogue = catalogue
        self.loading = [] if self._started else sorted(self._loading)
        self._pool.keep_only({(spec.name, spec.version) for spec in catalogue.functions.values()})
