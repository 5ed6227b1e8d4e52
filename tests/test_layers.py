"""A layer imports only lower ones, and the store alone knows redis-py."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    {"errors", "values", "settings", "log", "metrics", "outbound", "tracing"},
    {"jobs"},
    {"handlers"},
    {"store"},
    {"history"},
    {"client"},
    {"outbox", "doctor"},
    {"worker", "testing", "pytest_plugin"},
    {"rpc", "remote"},
    {"gateway"},
    {"cli"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = [path for path in (ROOT / "runtime").rglob("*.py") if path != ROOT / "runtime" / "__init__.py"]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part(path):
    return path.relative_to(ROOT / "runtime").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_its_layer_and_lower_ones(path):
    rank = RANK[part(path)]
    ours = [name.split(".")[1] for name in imports(path) if name.startswith("runtime.")]

    assert [name for name in ours if name in RANK and RANK[name] > rank] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_redis_is_known_to_the_store_alone(path):
    knows = any(name.split(".")[0] == "redis" for name in imports(path))

    assert not knows or part(path) == "store"


def test_functions_import_only_the_runtime_itself():
    for path in (ROOT / "functions").glob("*.py"):
        ours = [name for name in imports(path) if name.startswith("runtime")]
        assert all(name.count(".") == 1 for name in ours), path


def test_no_module_imports_itself_in_a_circle():
    files = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES}
    graph = {}
    for name, path in files.items():
        found = {i if i in files else i.rpartition(".")[0] for i in imports(path) if i.startswith("runtime.")}
        graph[name] = {target for target in found if target in files and target != name}

    def visit(name, trail):
        assert name not in trail, " -> ".join([*trail, name])
        for target in graph[name]:
            if target not in seen:
                visit(target, [*trail, name])
        seen.add(name)

    seen = set()
    for name in graph:
        visit(name, [])
