import sys

import pytest

from runtime.errors import FunctionInvalid, FunctionUnknown
from runtime.handlers.catalogue import discover


@pytest.fixture
def folder(tmp_path):
    def write(**modules):
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)
        return tmp_path

    return write


def test_a_module_with_a_bare_handle_is_a_function_named_after_its_file(folder):
    found = discover(folder(resize='"""Resize."""\ndef handle(n: int): return n'))

    assert found.functions["resize"].doc == "Resize."


def test_a_package_is_a_function_and_may_have_helpers(tmp_path):
    (tmp_path / "big").mkdir()
    (tmp_path / "big" / "__init__.py").write_text("from .part import size\ndef handle(): return size")
    (tmp_path / "big" / "part.py").write_text("size = 4")

    assert discover(tmp_path).functions["big"].handler() == 4


def test_a_function_may_have_aliases(folder):
    source = "from runtime import function\n@function(aliases=('b',))\ndef run(): ..."

    found = discover(folder(a=source))

    assert found.functions["a"] is found.functions["b"]


def test_names_that_begin_with_an_underscore_are_helpers(folder):
    assert discover(folder(_shared="x = 1", a="def handle(): ...")).functions.keys() == {"a"}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def handle(:", "SyntaxError"),
        ("import no_such_module_here", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("x = 1", "no handler"),
        ("def handle(f: open): ...", "annotation"),
        ("def handle(f: 'Missing'): ...", "annotation"),
        ("from collections.abc import Callable\ndef handle(f: Callable): ...", "JSON Schema"),
        ("from runtime import function\n@function()\ndef a(): ...\n@function()\ndef b(): ...", "2 handlers"),
    ],
)
def test_a_broken_module_is_told_and_leaves_the_others_working(folder, source, told):
    found = discover(folder(broken=source, works="def handle(): ..."))

    assert found.functions.keys() == {"works"}
    assert told in found.broken["broken"]


def test_a_function_named_like_a_library_does_not_hide_it(folder):
    discover(folder(email="import email.message\ndef handle(): return email.message"))

    assert "email.message" in sys.modules
    assert hasattr(sys.modules["email"], "message_from_string")


def test_only_some_functions_may_be_asked_for(folder):
    place = folder(a="def handle(): ...", b="def handle(): ...")

    assert discover(place, ("b",)).functions.keys() == {"b"}
    with pytest.raises(FunctionUnknown, match="did you mean a"):
        discover(place, ("aa",))


def test_two_functions_cannot_serve_one_name(folder):
    source = "from runtime import function\n@function(aliases=('a',))\ndef run(): ..."

    found = discover(folder(a="def handle(): ...", b=source))

    assert "served by a" in found.broken["b"]


def test_a_missing_folder_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(FunctionInvalid, match="LANEWORK_FUNCTIONS_DIR"):
        discover(tmp_path / "none")
