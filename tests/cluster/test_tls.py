"""Redis over TLS, which shows its certificate and asks for that of its clients."""

import asyncio
import subprocess

import pytest

from runtime import settings as settings_module
from runtime.client import Lanework
from runtime.errors import StoreUnavailable
from runtime.store.connect import opened, ping
from tests.conftest import deploy
from tests.servers import has_image, missing, redis_image, until

WAIT = 20


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, and what it has signed: for the server, and for its clients."""
    folder = tmp_path_factory.mktemp("tls")
    new_key = ("-newkey", "rsa:2048", "-nodes")
    ca, ca_key = str(folder / "ca.pem"), str(folder / "ca.key")
    openssl("req", "-x509", *new_key, "-days", "1", "-subj", "/CN=authority", "-keyout", ca_key, "-out", ca)
    for name in ("server", "client"):
        key, request, signed = (str(folder / f"{name}.{kind}") for kind in ("key", "csr", "pem"))
        alternative_name = ("-addext", "subjectAltName=DNS:localhost")
        openssl("req", *new_key, "-subj", f"/CN={name}", *alternative_name, "-keyout", key, "-out", request)
        signing = ("-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-days", "1", "-copy_extensions", "copy")
        openssl("x509", "-req", "-in", request, *signing, "-out", signed)
    for path in folder.iterdir():
        path.chmod(0o644)  # the container's user reads them
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def address(certificates):
    """Of a Redis in a container, as HOST:PORT."""
    image = redis_image()
    if not has_image(image):
        missing(f"the image {image}")
    files = ("--tls-cert-file", "/tls/server.pem", "--tls-key-file", "/tls/server.key")
    options = ("--port", "0", "--tls-port", "6379", *files, "--tls-ca-cert-file", "/tls/ca.pem")
    started = subprocess.run(
        [
            *("docker", "run", "-d", "--rm", "-p", "127.0.0.1::6379", "-v", f"{certificates}:/tls:ro"),
            *(image, "redis-server", *options),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    try:
        port = subprocess.run(
            ["docker", "port", started, "6379"], check=True, capture_output=True, text=True
        ).stdout.rpartition(":")[2]
        yield f"localhost:{port.strip()}"
    finally:
        subprocess.run(["docker", "kill", started], check=True, capture_output=True)


def settings_for(address, **query):
    options = "&".join(f"{name}={value}" for name, value in query.items())
    return settings_module.load({}, redis_url=f"rediss://{address}/0?{options}", worker_port=0, lease=1.0)


@pytest.fixture
def settings(address, certificates):
    given = settings_for(
        address,
        ssl_ca_certs=certificates / "ca.pem",
        ssl_certfile=certificates / "client.pem",
        ssl_keyfile=certificates / "client.key",
    )

    def answers():
        try:
            asyncio.run(asked(given))
        except StoreUnavailable:
            return False
        return True

    until(answers, "a server with TLS")
    return given


async def asked(settings):
    async with opened(settings) as client:
        await ping(client)


async def test_jobs_come_and_run_and_their_leases_are_renewed(settings, worker):
    async def long(payload):
        await asyncio.sleep(2)
        return payload

    async with Lanework(settings) as client, worker(settings, long=long):
        await deploy(client, long=long)
        done = await client.wait(await client.enqueue("long", 7), WAIT)

    assert (done.status, done.result, len(done.attempts)) == ("completed", 7, 1)


@pytest.mark.parametrize(
    ("shown", "why"), [({}, "CERTIFICATE_VERIFY_FAILED"), ({"ssl_ca_certs": "ca.pem"}, "certificate required")]
)
async def test_who_is_not_trusted_is_told(settings, address, certificates, shown, why):
    """The server by a client that does not know its authority, and a client that shows no certificate."""
    files = {name: certificates / file for name, file in shown.items()}

    with pytest.raises(StoreUnavailable, match=why):
        await asked(settings_for(address, **files))
