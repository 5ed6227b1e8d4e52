"""`lanework new`: a function to start from, and a test of it that passes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from string import Template

from runtime.cli import show
from runtime.errors import FunctionInvalid
from runtime.handlers.policy import NAME
from runtime.settings import Settings

_FUNCTION = Template('''\
"""Greets somebody a given number of times."""

from runtime import Context, function


@function(timeout=30, retry=3)
${async_}def handle(ctx: Context, name: str, times: int = 1) -> dict[str, str | int]:
    """Greets.

    Args:
        name: whom to greet
        times: how often
    """
    for done in range(times):
        ctx.log.info("greeted", name=name)
        ctx.progress(done + 1, times)
    return {"greeting": f"Hello, {name}!", "times": times}
''')

_TEST = Template("""\
from runtime.testing import call


def test_${name}_greets_so_many_times():
    outcome = call("${name}", {"name": "Ada", "times": 2})

    assert outcome.result == {"greeting": "Hello, Ada!", "times": 2}
    assert [report["done"] for report in outcome.progress] == [1, 2]


def test_${name}_needs_a_name():
    outcome = call("${name}", {})

    assert outcome.status == "failed"
    assert "/name" in outcome.error["message"]
""")


def write(settings: Settings, name: str, tests: Path, *, is_async: bool) -> int:
    """Writes both files, and overwrites none. Raises FunctionInvalid."""
    if not NAME.fullmatch(name):
        raise FunctionInvalid(f"a function's name is a-z, 0-9 and _ and starts with a letter, not {name!r}")
    module, test = settings.functions_dir / f"{name}.py", tests / f"test_{name}.py"
    for path in (module, settings.functions_dir / name, test):
        if path.exists():
            raise FunctionInvalid(f"{path} is there already: choose another name")
    for path, text in ((module, _FUNCTION), (test, _TEST)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.substitute(name=name, async_="async " if is_async else ""))
    print(f"{module}\n{test}")
    call = f'{show.beside("lanework")} call {name} \'{{"name": "Ada"}}\' --wait'
    show.note(f"try it: {show.beside('pytest')} {test}; {call}")
    if find_spec("pytest") is None:
        show.note("its test needs pytest: python -m pip install pytest, or make test")
    return show.DONE
