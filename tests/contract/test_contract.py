"""The API as its document has it: valid, complete, true of a live gateway, and enough to generate a client from."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import validate

from runtime.gateway.app import create_app
from runtime.gateway.connect import is_method
from runtime.gateway.openapi.document import build
from tests.servers import free_port, missing

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@pytest.fixture
def gateway(process, until, tmp_path, request):
    """A gateway as a process of its own, with a history where there are functions to have one."""
    url = f"http://127.0.0.1:{free_port()}"
    env = {}
    if "deployed" in request.fixturenames and request.getfixturevalue("deployed"):
        env["HISTORY_URL"] = f"sqlite:///{tmp_path}/history.db"
        archiver = process("history", "run", "--migrate", **env)
        archiver.await_said("history.started")
    log = process("gateway", "--port", url.rpartition(":")[2], **env)
    until(lambda: alive(url), "gateway", log.log.read_text)
    return url


def alive(url):
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def functions(gateway, start, until):
    """Workers with functions that have nested models, unions and dates."""
    own = (ROOT / "functions" / "math.py").read_text()
    # callbacks wait: the document's examples of their URLs may be somebody's
    start(
        {
            "order": (HERE / "order.py").read_text(),
            "math": own,
            "echo": "async def handle(payload): return payload",
        },
        FUNCTIONS="order,math,echo",
    )
    until(lambda: len(httpx.get(f"{gateway}/functions", trust_env=False).json()["functions"]) == 3, "functions")


def document(url):
    return httpx.get(f"{url}/openapi.json", trust_env=False).raise_for_status().json()


def test_every_route_is_described_and_nothing_else(settings):
    app = create_app(settings)
    served = {
        (route.path.replace(":path", ""), method.lower())
        for route in app.routes
        for method in route.app.methods
        if not is_method(route.path)  # its .proto file describes it
    }

    described = {
        (path, method) for path, item in build({}, settings, secured=False)["paths"].items() for method in item
    }

    assert described == served


def test_the_document_is_valid_with_functions_and_without(gateway, request):
    validate(document(gateway))
    request.getfixturevalue("functions")
    whole = document(gateway)
    validate(whole)

    operation = whole["paths"]["/functions/order/jobs"]["post"]
    assert operation["summary"] == "Take an order."
    assert operation["description"].startswith("It has what schemas are made of")
    payload = whole["components"]["schemas"]["order.payload"]
    assert payload["properties"]["items"]["description"] == "what was ordered"
    assert payload["properties"]["note"]["default"] == ""


def test_the_document_of_a_gateway_that_asks_for_keys_is_valid_and_names_scopes(settings):
    secured = build({}, settings, secured=True)
    validate(secured)

    def needed(path, method):
        return secured["paths"][path][method].get("security")

    assert needed("/jobs", "post") == [{"accessKey": ["enqueue"]}]
    assert needed("/jobs", "get") == [{"accessKey": ["read"]}]
    assert needed("/jobs/{id}", "delete") == [{"accessKey": ["operate"]}]
    assert needed("/healthz", "get") is None


def test_the_document_changes_when_a_function_appears(gateway, request):
    before = httpx.get(f"{gateway}/openapi.json", trust_env=False)
    known = {"If-None-Match": before.headers["etag"]}
    assert httpx.get(f"{gateway}/openapi.json", headers=known, trust_env=False).status_code == 304

    request.getfixturevalue("functions")

    after = httpx.get(f"{gateway}/openapi.json", headers=known, trust_env=False)
    assert (after.status_code, "/functions/order/jobs" in after.json()["paths"]) == (200, True)


@pytest.mark.parametrize("deployed", [True, False], ids=["with functions", "without"])
def test_schemathesis_finds_nothing(gateway, request, tmp_path, deployed):
    if deployed:
        request.getfixturevalue("functions")
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(HERE / "schemathesis.toml"),
    ]
    checks = ["--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "6"]
    checks += ["--exclude-checks", "use_after_free"]  # what DELETE cancels is kept, and shown as cancelled
    checks += ["--seed", "1"]  # the same cases each time; CONTRIBUTING has a longer run with others
    if not deployed:  # to be ready is to know a function: their 503 is the right answer
        checks += ["--exclude-path", "/readyz", "--exclude-path", "/health"]
    where = [f"{gateway}/openapi.json", "--no-color", "--report-dir", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}

    done = subprocess.run(
        [*command, "run", *where, *checks],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_a_generated_client_enqueues_waits_and_reads_a_typed_result(gateway, functions, tmp_path, monkeypatch):
    (tmp_path / "openapi.json").write_text(json.dumps(document(gateway)))
    # a program of its own: its dependencies do not agree with ours
    program = os.environ.get("OPENAPI_PYTHON_CLIENT") or shutil.which("openapi-python-client")
    if program is None:
        missing("openapi-python-client")
    command = [str(program), "generate", "--meta", "none"]
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    paths = ["--path", str(tmp_path / "openapi.json"), "--output-path", str(tmp_path / "generated_client")]
    subprocess.run([*command, *paths], env=env, capture_output=True, check=True, timeout=120)
    monkeypatch.syspath_prepend(str(tmp_path))
    generated = importlib.import_module("generated_client")
    enqueue = importlib.import_module("generated_client.api.functions.enqueue_order")
    models = importlib.import_module("generated_client.models")

    body = models.OrderPayload(items=[models.Item(name="tea", count=2)], pay=models.Cash(kind="cash"))
    with generated.Client(gateway, httpx_args={"trust_env": False}, timeout=httpx.Timeout(30)) as client:
        job = enqueue.sync(client=client, body=body, wait=20)

    assert (job.status, job.result.total, job.result.at.year) == ("completed", 2, 2030)
