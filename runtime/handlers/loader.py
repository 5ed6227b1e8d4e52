"""The files of functions: finding them, their versions, and loading one.

A version is what was read: code is imported from that and never again from the disk, where it may have
changed meanwhile. Each version is a package of its own in `sys.modules`, so that code which still runs keeps
what it imported, and a function named `email` never hides the library's.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime.errors import FunctionInvalid
from runtime.handlers.policy import MARK
from runtime.handlers.spec import Function

_READ = 1 << 20  # larger files count by their size: a model of gigabytes is not read to find a version
_Stamp = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A function's module. `path`: `NAME.py`, or `NAME/__init__.py`. `version`: 12 hex digits. `code`: what its
    Python files said, and the helpers', by path."""

    name: str
    path: str
    version: str
    code: Mapping[str, bytes] = field(repr=False, compare=False)


class Sources:
    """The modules of a folder; unchanged ones are not read again."""

    def __init__(self, folder: Path) -> None:
        """Raises FunctionInvalid where there is no such folder."""
        if not folder.is_dir():
            message = f"there is no folder {folder}: put function modules there, or set LANEWORK_FUNCTIONS_DIR"
            raise FunctionInvalid(message)
        self._folder = folder.absolute()
        self._known: dict[str, tuple[_Stamp, Source]] = {}
        self.unreadable: dict[str, str] = {}  # modules that the last look could not read, and why

    def scan(self) -> dict[str, Source]:
        """Every module by its name; those whose names begin with `_` are helpers of all. Raises OSError."""
        paths = [path for path in sorted(self._folder.iterdir()) if not path.name.startswith((".", "__"))]
        helpers = [file for path in paths if path.name.startswith("_") for file in _files(path)]
        known, self._known, self.unreadable = self._known, {}, {}
        for path in paths:
            if path.name.startswith("_") or not (path.suffix == ".py" or (path / "__init__.py").is_file()):
                continue
            name = _text(path.stem if path.suffix == ".py" else path.name)
            try:
                self._known[name] = self._look(name, path, [*_files(path), *helpers], known.get(name))
            except OSError as error:
                self.unreadable[name] = str(error)
        return {name: source for name, (_, source) in self._known.items()}

    def _look(
        self, name: str, path: Path, files: Sequence[Path], known: tuple[_Stamp, Source] | None
    ) -> tuple[_Stamp, Source]:
        stamp = _stamp(files)
        if known is not None and known[0] == stamp:
            return known
        module = path if path.suffix == ".py" else path / "__init__.py"
        version, code = _read(self._folder, files)
        return stamp, Source(name, str(module), version, code)


def _files(path: Path, above: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    if path.is_dir():
        stat = path.stat()
        here = (stat.st_dev, stat.st_ino)
        if here in above:
            return  # a link to a folder that holds it
        for inner in sorted(path.iterdir()):
            if inner.name != "__pycache__" and not inner.name.startswith("."):
                yield from _files(inner, (*above, here))
    elif path.is_file():
        yield path


def _stamp(files: Sequence[Path]) -> _Stamp:
    stats = [(str(file), file.stat()) for file in files]
    return tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats)


def _read(folder: Path, files: Sequence[Path]) -> tuple[str, dict[str, bytes]]:
    """The version, which is a hash of all files, and the content of the Python files by path."""
    digest, code = hashlib.sha256(), {}
    for file in files:
        size = file.stat().st_size
        data = file.read_bytes() if size <= _READ or file.suffix == ".py" else b""
        digest.update(os.fsencode(file.relative_to(folder)) + b"\0%d\0" % (len(data) or size) + data)
        if file.suffix == ".py" and _text(str(file)) == str(file):
            code[str(file)] = data
    return digest.hexdigest()[:12], code


def _text(name: str) -> str:
    """A file's name as printable text; bytes that are not UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def load(source: Source) -> Function:
    """Imports a module and makes a function of its handler. Raises FunctionInvalid, and what the module raises."""
    module = _import(source)
    return Function(source.name, _handler(module), module.__doc__ or "", source.version)


def unload(source: Source) -> None:
    """Forgets a version. What still runs of it keeps its modules, and can import no further ones of it."""
    package = _package(source)
    _finder.code.pop(package, None)
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        del sys.modules[name]


class _Loader(SourceFileLoader):
    """Loads what was read, under the path where it was found."""

    def __init__(self, name: str, path: str, code: Mapping[str, bytes]) -> None:
        super().__init__(name, path)
        self._code = code

    def get_data(self, path: Any) -> bytes:
        return self._code[path] if path in self._code else super().get_data(path)

    def path_stats(self, path: Any) -> Any:
        raise OSError  # no bytecode is kept of what may not be on the disk


class _Finder:
    """Finds the modules of every version that is loaded (`sys.meta_path`)."""

    def __init__(self) -> None:
        self.code: dict[str, Mapping[str, bytes]] = {}

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        code = self.code.get(name.partition(".")[0])
        for place in path or () if code is not None else ():
            file = os.path.join(place, name.rpartition(".")[2])
            for found, within in ((f"{file}.py", None), (os.path.join(file, "__init__.py"), [file])):
                if code is not None and found in code:
                    loader = _Loader(name, found, code)
                    return importlib.util.spec_from_file_location(
                        name, found, loader=loader, submodule_search_locations=within
                    )
        return None


_finder = _Finder()
sys.meta_path.insert(0, _finder)


def _package(source: Source) -> str:
    return f"functions_{source.name}_{source.version}"


def _import(source: Source) -> ModuleType:
    path = Path(source.path)
    parent = ModuleType(_package(source))
    parent.__path__ = [str(path.parent.parent if path.name == "__init__.py" else path.parent)]
    sys.modules[parent.__name__] = parent
    _finder.code[parent.__name__] = source.code
    try:
        return importlib.import_module(f"{parent.__name__}.{source.name}")
    except BaseException as error:
        unload(source)
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "functions":
            error.add_note("helpers are imported relatively: from ._shared import something")
        raise


def _handler(module: ModuleType) -> Callable[..., Any]:
    marked = {id(v): v for v in vars(module).values() if hasattr(v, MARK) and inspect.isfunction(v)}
    name = module.__name__.rpartition(".")[2]
    if len(marked) > 1:
        raise FunctionInvalid(f"{name} has {len(marked)} handlers marked @function: one module, one function")
    found = next(iter(marked.values()), None) or getattr(module, "handle", None)
    if not callable(found):
        raise FunctionInvalid(f"{name} has no handler: define `handle`, or mark one with @function")
    return found
