"""Keeps what the worker runs in step with the functions folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

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
_KEPT = 3  # versions of a function that stay loaded in this process, for attempts that still run


@dataclass(slots=True)
class Module:
    """What the worker knows of one module of the folder.

    `version`: the last one that was or is being loaded, None for one that is gone. `good`: the last that loaded,
    which goes on where a later one does not. `broken`: why the last one does not load. `again_at`: when to try that
    again (monotonic), `pause` seconds after the last time. `imported`: the versions in this process.
    """

    version: str | None = None
    good: Spec | None = None
    broken: str | None = None
    again_at: float | None = None
    pause: float = 0.0
    loading: asyncio.Task[None] | None = None
    imported: list[Source] = field(default_factory=list)

    @property
    def is_due(self) -> bool:
        """Whether a version that did not load is to be tried again now."""
        return self.again_at is not None and self.loading is None and time.monotonic() >= self.again_at


class Deployer:
    """Loads what is new or has changed. Each module is tried in a process of its own first: one that crashes,
    hangs or fails touches nothing here, and its last good version goes on."""

    def __init__(self, settings: Settings, pool: Pool, built_in: Sequence[Spec] = ()) -> None:
        """`built_in`: functions that are no files. Raises FunctionInvalid where there is no folder."""
        self.catalogue = Catalogue()
        self._built_in = built_in
        self.loading: list[str] = []  # modules that were there at the start and are not in the catalogue yet
        self._settings = settings
        self._pool = pool
        self._sources = Sources(settings.functions_dir)
        self._seen: dict[str, Source] = {}  # as the last look found them
        self._modules: dict[str, Module] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._changed = False
        self._started = False
        self._trouble = ""
        self._log = log.get("deploy")

    async def start(self) -> None:
        """Looks for the first time, and waits a moment for what it finds to load; `look` brings the rest. Raises
        FunctionUnknown if everything has loaded and a function that was asked for is not there."""
        self._seen = await asyncio.to_thread(self._sources.scan)
        self._follow(self._seen)
        if loading := self._tasks():
            await asyncio.wait(loading, timeout=_AT_START)
        self._changed = False
        self._started = not self._tasks()
        self._assemble(first=self._started)

    async def look(self) -> bool:
        """Looks at the folder, and returns whether the catalogue was rebuilt. A file counts once two looks find it
        the same: then it was written whole. A function counts once it is loaded, however long others take. Raises
        FunctionUnknown as `start` does, if what was there at the start took longer to load."""
        if self._settings.watch:
            await self._scan()
        ended = not self._started and not self._tasks()
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
        for task in self._tasks():
            task.cancel()
        await asyncio.gather(*self._tasks(), return_exceptions=True)

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [module.loading for module in self._modules.values() if module.loading is not None]

    def _tell_trouble(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            self._log.warning("folder.unreadable", folder=str(self._settings.functions_dir), error=trouble)
        self._trouble = trouble

    def _follow(self, stable: dict[str, Source]) -> None:
        """Removes the modules whose files are gone, and starts to load those that are new, have changed or are to
        be tried again. `stable`: the files that are not being written."""
        for name, module in self._modules.items():
            if module.version is not None and name not in self._seen and name not in self._sources.unreadable:
                self._remove(name, module)
        for source in stable.values():
            module = self._modules.setdefault(source.name, Module())
            if self._wanted(source.name) and (module.version != source.version or module.is_due):
                self._start_loading(source, module)

    def _start_loading(self, source: Source, module: Module) -> None:
        if module.loading is not None:
            module.loading.cancel()
        if module.version != source.version:
            module.again_at, module.pause = None, 0.0
        is_change, module.version = module.version is not None, source.version
        module.loading = asyncio.get_running_loop().create_task(self._load(source, module, is_change=is_change))

    def _remove(self, name: str, module: Module) -> None:
        if module.loading is not None:
            module.loading.cancel()
        if module.good is not None:
            self._log.info("function.removed", function=name)
        self._modules[name] = Module(imported=module.imported)
        self._changed = True

    def _wanted(self, name: str) -> bool:
        """Whether a module is to be loaded. Where only some functions are asked for, other modules are loaded only
        while one of these names has no module of its own: it may be an alias."""
        only = self._settings.functions
        known = {*self._seen, *(function.name for function in self._built_in)}
        return not only or name in only or any(other not in known for other in only)

    async def _load(self, source: Source, module: Module, *, is_change: bool) -> None:
        try:
            async with self._gate:
                spec = await self._pool.load(source)
                if spec.isolation != "process":
                    spec = await self._import(source, module)
        except Exception as error:
            reason = str(error) if isinstance(error, LoadFailed) else f"{type(error).__name__}: {error}"
            self._fail(source, module, reason)
        else:
            module.good, module.broken, module.again_at, module.pause = spec, None, None, 0.0
            self._tell_lane(spec)
            if self._started:
                event = "function.changed" if is_change else "function.added"
                self._log.info(event, function=source.name, version=source.version)
        self._changed = True
        if module.loading is asyncio.current_task():
            module.loading = None

    def _tell_lane(self, spec: Spec) -> None:
        try:
            self._settings.lane(spec.policy.lane)
        except LaneUnknown as error:
            fields = {"function": spec.name, "lane": self._settings.default_lane, "error": str(error)}
            self._log.warning("function.lane_unknown", **fields)

    async def _import(self, source: Source, module: Module) -> Spec:
        """Imports a module into this process, on a thread, so that attempts go on meanwhile. It is done this way at
        the start too: a module that cannot load on a thread could not be reloaded when it changes."""
        try:
            async with asyncio.timeout(LOAD_WITHIN):
                spec = await aside(load, source)
        except TimeoutError:
            raise LoadTimeout(f"its import into the worker did not end within {LOAD_WITHIN:g} s") from None
        except Exited as error:  # it ends a process of its own that way, but not the worker
            raise LoadFailed(load_trace(error.error)) from None
        if source in module.imported:  # a version came back: it is the newest again
            module.imported.remove(source)
        module.imported.append(source)
        while len(module.imported) > _KEPT:
            unload(module.imported.pop(0))
        return spec

    def _fail(self, source: Source, module: Module, reason: str) -> None:
        """It is tried again, ever more rarely: what it needs may come later, a library, a file or a calmer host."""
        is_repeated = module.again_at is not None and module.broken == reason
        module.pause = min(_RAREST, 2 * module.pause) if module.pause else TRY_AGAIN
        module.again_at = time.monotonic() + module.pause
        module.broken = reason
        if not is_repeated:
            self._log.error(
                "function.broken",
                function=source.name,
                version=source.version,
                runs_on=module.good.version if module.good else None,
                traceback=reason,
            )

    def _assemble(self, *, first: bool) -> None:
        """Builds the catalogue from what has loaded. `first`: whether this is the first one with everything that
        was there at the start."""
        modules = self._modules
        catalogue = Catalogue(broken={name: m.broken for name, m in modules.items() if m.broken is not None})
        for function in self._built_in:
            catalogue.add(function)
        served = self.catalogue.functions  # a newcomer takes no name from those that run
        for name, module in sorted(modules.items(), key=lambda item: (item[0] not in served, item[0])):
            try:
                if module.good is not None:
                    catalogue.add(module.good)
            except FunctionInvalid as error:
                built_in = name in {function.name for function in self._built_in}
                catalogue.broken[name] = f"{name} is built in: rename the file" if built_in else str(error)
        if only := self._settings.functions:
            if first:
                catalogue.only(only)  # raises where one is not there; later it may go and come
            catalogue.functions = {name: catalogue.functions[name] for name in only if name in catalogue.functions}
            catalogue.broken = {name: trace for name, trace in catalogue.broken.items() if name in only}
        self.catalogue = catalogue
        loading = [] if self._started else [name for name, module in modules.items() if module.loading is not None]
        self.loading = sorted(loading)
        self._pool.keep_only({(spec.name, spec.version) for spec in catalogue.functions.values()})
