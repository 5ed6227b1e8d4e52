"""The port: how a gateway gets one, and TLS."""

import re
import subprocess

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from runtime import settings as settings_module
from runtime.errors import SettingsInvalid
from runtime.remote import Worker
from runtime.rpc.server import Server
from tests.rpc.conftest import grpc_serving
from tests.rpc.test_remote import call

REFUSED = 3


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The files of a certificate for localhost, and of its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.fixture
def quiet(settings):
    """A server without services."""

    def make(**fields):
        return Server([], None, settings.model_copy(update={"grpc_port": 0, **fields}))  # type: ignore[arg-type]

    return make


def test_a_gateway_serves_grpc_where_a_port_is_named(process):
    with_port = process("gateway", "--port", "0", "--grpc-port", "0", LOG_FORMAT="json")
    with_port.await_said("grpc.started")
    (port,) = re.findall(r'"url": "http://127.0.0.1:(\d+)", "event": "grpc.started"', with_port.log.read_text())

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING  # no function is known
    assert with_port.stop() == 0


def test_a_port_that_is_taken_is_told_at_once(process):
    first = process("gateway", "--port", "0", "--grpc-port", "0", LOG_FORMAT="json")
    first.await_said("grpc.started")
    (port,) = re.findall(r'"url": "http://127.0.0.1:(\d+)", "event": "grpc.started"', first.log.read_text())

    second = process("gateway", "--port", "0", "--grpc-port", port)

    assert second.popen.wait(20) == REFUSED
    assert second.said("choose another with --grpc-port")


def test_tls_that_cannot_be_is_told_at_once(process, tmp_path):
    missing = process("gateway", "--port", "0", "--grpc-port", "0", GRPC_TLS_CERT=str(tmp_path / "none.pem"))

    assert missing.popen.wait(20) == REFUSED
    assert missing.said("TLS needs both")
    assert not missing.said("Traceback")


async def test_tls_by_files_is_shown_to_clients_and_workers(settings, client, certificate):
    cert, key = certificate
    async with grpc_serving(settings.model_copy(update={"grpc_tls_cert": cert, "grpc_tls_key": key})) as served:
        credentials = grpc.ssl_channel_credentials(cert.read_bytes())
        async with grpc.aio.secure_channel(f"localhost:{served.number}", credentials) as channel:
            status = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        with pytest.raises(grpc.aio.AioRpcError) as plain:
            await served.call("ListJobs", timeout=5)
        result = await echoed(client, f"https://localhost:{served.number}", cert)

    assert status.status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert plain.value.code() == grpc.StatusCode.UNAVAILABLE
    assert result == {"n": 1}


async def echoed(client, url, ca):
    import asyncio

    async def echo(payload):
        return payload

    worker = Worker(url, ca=ca).register("echo", echo)
    running = asyncio.ensure_future(asyncio.to_thread(worker.run))
    try:
        return (await call(client, "echo", {"n": 1})).result
    finally:
        worker.stop()
        await running


async def test_clients_must_show_a_certificate_where_their_authority_is_named(settings, certificate):
    cert, key = certificate
    tls = {"grpc_tls_cert": cert, "grpc_tls_key": key, "grpc_tls_ca": cert}
    async with grpc_serving(settings.model_copy(update=tls)) as served:
        for own, allowed in (((key.read_bytes(), cert.read_bytes()), True), ((None, None), False)):
            credentials = grpc.ssl_channel_credentials(cert.read_bytes(), *own)
            async with grpc.aio.secure_channel(f"localhost:{served.number}", credentials) as channel:
                check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
                if allowed:
                    await check
                else:
                    with pytest.raises(grpc.aio.AioRpcError):
                        await check


@pytest.mark.parametrize("missing", ["grpc_tls_cert", "grpc_tls_key"])
async def test_half_of_tls_is_refused(quiet, certificate, missing):
    files = dict(zip(("grpc_tls_cert", "grpc_tls_key"), certificate, strict=True)) | {missing: None}

    with pytest.raises(SettingsInvalid, match="needs both"):
        await quiet(**files).start()


async def test_a_file_that_is_not_there_is_named(quiet, certificate, tmp_path):
    cert, _ = certificate

    with pytest.raises(SettingsInvalid, match=r"no\.pem: No such file"):
        await quiet(grpc_tls_cert=cert, grpc_tls_key=tmp_path / "no.pem").start()


async def test_files_that_do_not_belong_together_are_refused(quiet, certificate, tmp_path):
    cert, _ = certificate
    (tmp_path / "odd.pem").write_text("no key")

    with pytest.raises(SettingsInvalid, match="are no certificate and its key"):
        await quiet(grpc_tls_cert=cert, grpc_tls_key=tmp_path / "odd.pem").start()


def test_nothing_is_no_port(monkeypatch):
    for name in ("GRPC_PORT", "GRPC_TLS_CERT", "GRPC_TLS_KEY", "GRPC_TLS_CA"):
        monkeypatch.setenv(f"LANEWORK_{name}", "")

    loaded = settings_module.load()

    assert (loaded.grpc_port, loaded.grpc_tls_cert) == (None, None)
