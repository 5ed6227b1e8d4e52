"""Finding functions: each module of a folder is loaded on its own, and cannot keep others from loading."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime.errors import FunctionInvalid, FunctionUnknown
from runtime.function import MARK, Function

PACKAGE = "functions"


@dataclass(slots=True)
class Catalogue:
    """The functions of a folder by job type, aliases included, and the modules that did not load."""

    functions: dict[str, Function] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> Function:
        """Raises FunctionUnknown, with near names."""
        found = self.functions.get(name)
        if found is None:
            raise FunctionUnknown(name, difflib.get_close_matches(name, self.functions))
        return found


def discover(folder: Path, only: tuple[str, ...] = ()) -> Catalogue:
    """Loads `*.py` and `*/__init__.py` of a folder; names that begin with `_` are helpers.

    `only`: the job types to load. Raises FunctionUnknown where one of them is not there, and
    FunctionInvalid where there is no such folder.
    """
    if not folder.is_dir():
        raise FunctionInvalid(
            f"there is no folder {folder}: put function modules there, or set LANEWORK_FUNCTIONS_DIR"
        )
    _make_package(folder)
    catalogue = Catalogue()
    for name, path in _modules(folder):
        try:
            _add(catalogue, Function(name, _handler(_load(name, path)), _doc(name)))
        except (Exception, SystemExit):
            catalogue.broken[name] = traceback.format_exc(limit=-8)
    for name in only:
        if name not in catalogue.broken:
            catalogue.get(name)
    if only:
        catalogue.functions = {name: catalogue.functions[name] for name in only if name in catalogue.functions}
    return catalogue


def _add(catalogue: Catalogue, function: Function) -> None:
    names = (function.name, *function.policy.aliases)
    for name in names:
        if name in catalogue.functions:
            raise FunctionInvalid(
                f"{function.name}: {name!r} is served by {catalogue.functions[name].name} already"
            )
    catalogue.functions.update(dict.fromkeys(names, function))


def _modules(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(("_", ".")):
            continue
        if path.suffix == ".py":
            yield path.stem, path
        elif (path / "__init__.py").is_file():
            yield path.name, path / "__init__.py"


def _make_package(folder: Path) -> None:
    """A parent for the modules, so that a function named `email` never hides the library's."""
    package = ModuleType(PACKAGE)
    package.__path__ = [str(folder)]
    sys.modules[PACKAGE] = package


def _load(name: str, path: Path) -> ModuleType:
    full = f"{PACKAGE}.{name}"
    within = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(full, path, submodule_search_locations=within)
    if spec is None or spec.loader is None:
        raise FunctionInvalid(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[full] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[full]
        raise
    return module


def _handler(module: ModuleType) -> Callable[..., Any]:
    marked = {id(v): v for v in vars(module).values() if hasattr(v, MARK) and inspect.isfunction(v)}
    if len(marked) > 1:
        raise FunctionInvalid(
            f"{module.__name__} has {len(marked)} handlers marked @function: one module, one function"
        )
    found = next(iter(marked.values()), None) or getattr(module, "handle", None)
    if not callable(found):
        raise FunctionInvalid(f"{module.__name__} has no handler: define `handle`, or mark one with @function")
    return found


def _doc(name: str) -> str:
    return sys.modules[f"{PACKAGE}.{name}"].__doc__ or ""
