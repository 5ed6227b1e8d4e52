"""A docstring that explains a name explains one that is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "runtime"
EXPLAINED = re.compile(r"`(\w+)`: ")
ELSEWHERE = {"status", "partial", "options"}  # of what is returned, or passed on


def names_of(function):
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {argument.arg for argument in every if argument is not None}


def explained():
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for name in EXPLAINED.findall(ast.get_docstring(node) or ""):
                    yield f"{path.relative_to(ROOT)}:{node.name}", name, names_of(node)


@pytest.mark.parametrize(("where", "name", "names"), list(explained()), ids=lambda value: str(value)[:40])
def test_a_docstring_explains_parameters_that_are_there(where, name, names):
    assert name in names | ELSEWHERE, where
