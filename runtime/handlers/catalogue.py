"""What a worker can run, by job type; one module that does not load keeps no other from running."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import FunctionInvalid, FunctionUnknown
from runtime.handlers.loader import Sources, load
from runtime.handlers.spec import Spec
from runtime.jobs.failure import load_trace


@dataclass(slots=True)
class Catalogue:
    """Functions by job type, aliases included, and the tracebacks of modules that did not load, by name."""

    functions: dict[str, Spec] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> Spec:
        """Raises FunctionUnknown, with near names."""
        found = self.functions.get(name)
        if found is None:
            raise FunctionUnknown(name, difflib.get_close_matches(name, self.functions))
        return found

    def add(self, function: Spec) -> None:
        """Adds a function under all its names. Raises FunctionInvalid where another serves one of them."""
        names = (function.name, *function.policy.aliases)
        for name in names:
            if name in self.functions:
                raise FunctionInvalid(f"{function.name}: {name!r} is served by {self.functions[name].name} already")
        self.functions.update(dict.fromkeys(names, function))

    def only(self, names: Iterable[str]) -> None:
        """Leaves nothing but these. Raises FunctionUnknown where one of them is not there."""
        wanted = [name for name in names if name not in self.broken]
        self.functions = {name: self.get(name) for name in wanted}


def discover(folder: Path, only: tuple[str, ...] = ()) -> Catalogue:
    """Loads the functions of a folder into this process.

    `only`: the job types to keep; every module is imported all the same. Raises FunctionUnknown if one is missing,
    and FunctionInvalid where there is no such folder.
    """
    catalogue = Catalogue()
    for name, source in Sources(folder).scan().items():
        try:
            catalogue.add(load(source))
        except (Exception, SystemExit) as error:
            catalogue.broken[name] = load_trace(error)
    if only:
        catalogue.only(only)
    return catalogue
