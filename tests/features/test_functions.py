"""The functions that ship with Lanework, each against the real thing that it talks to."""

import asyncio
import csv
import json
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import structlog
from aiosmtpd.controller import Controller
from PIL import Image

from runtime.errors import PayloadInvalid
from runtime.handlers.catalogue import discover

WAIT = 15
FOLDER = Path(__file__).parents[2] / "functions"


@pytest.fixture
async def call(client, worker):
    """Runs one of the shipped functions as a job and gives the job when it has settled."""
    found = discover(FOLDER)
    assert found.broken == {}
    handlers = {name: fn.handler for name, fn in found.functions.items() if fn.name == name}

    async def run(name, payload=None, **more):
        return await client.wait((await client.enqueue(name, payload, **more)).id, WAIT)

    async with worker(**handlers):
        yield run


async def test_echo_returns_its_payload(call):
    payload = {"a": [1, None, "ü"], "b": {"c": 1.5}}

    assert (await call("echo", payload)).result == payload


@pytest.mark.parametrize(("a", "b", "total"), [("5", "3", 8), (5, -3, 2), ("+7", 10**18, 10**18 + 7)])
async def test_math_adds_whole_numbers_and_texts_of_them(call, a, b, total):
    assert (await call("math", {"a": a, "b": b})).result == total


async def test_math_refuses_what_is_no_whole_number(call):
    with pytest.raises(PayloadInvalid, match="/a"):
        await call("math", {"a": "five", "b": 1})


async def test_long_works_in_steps_and_reports_progress(call):
    job = await call("long", {"steps": 3, "seconds": 0.3})

    assert job.result == {"steps": 3, "seconds": 0.3}
    assert job.progress["total"] == 3


async def test_print_writes_its_payload_to_the_log(call):
    with structlog.testing.capture_logs() as logs:
        job = await call("print", {"hello": "world"})

    (printed,) = [log for log in logs if log["event"] == "printed"]
    assert printed["payload"] == {"hello": "world"}
    assert (printed["job"], printed["function"], printed["attempt"]) == (job.id, "print", 1)


class Mailbox:
    def __init__(self):
        self.mails = []
        self.refuse = None

    async def handle_RCPT(self, server, session, envelope, address, options):
        if self.refuse:
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(envelope)
        return "250 OK"


@pytest.fixture
def mailbox(monkeypatch):
    box = Mailbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(box, hostname="127.0.0.1", port=port)
    controller.start()
    monkeypatch.setenv("SMTP_URL", f"smtp://127.0.0.1:{port}")
    monkeypatch.setenv("MAIL_FROM", "sender@example.com")
    yield box
    controller.stop()


@pytest.mark.parametrize("name", ["email", "send_email"])
async def test_email_arrives_at_a_real_server(call, mailbox, name):
    job = await call(name, {"to": ["a@example.com", "b@example.com"], "subject": "Grüße", "body": "Hello"})

    assert job.result["transport"] == "smtp"
    (mail,) = mailbox.mails
    assert mail.rcpt_tos == ["a@example.com", "b@example.com"]
    assert mail.mail_from == "sender@example.com"
    assert f"Message-ID: <{job.id}@lanework>".encode() in mail.content
    assert b"Hello" in mail.content


async def test_a_recipient_that_the_server_refuses_for_good_fails_at_once(call, mailbox):
    mailbox.refuse = "550 no such user"

    job = await call("email", {"to": "nobody@example.com", "subject": "s"})

    assert (job.status, job.attempt) == ("failed", 1)
    assert "no such user" in job.error["message"]


async def test_without_a_server_an_email_goes_to_the_log_and_says_so(call, monkeypatch):
    monkeypatch.delenv("SMTP_URL", raising=False)

    with structlog.testing.capture_logs() as logs:
        job = await call("email", {"to": "a@example.com", "subject": "s", "body": "text"})

    assert job.result["transport"] == "console"
    assert any(log["event"] == "email.console" and "text" in log["message"] for log in logs)


async def test_a_header_cannot_be_smuggled_into_an_email(call, mailbox):
    with pytest.raises(PayloadInvalid, match="/subject"):
        await call("email", {"to": "a@example.com", "subject": "s\r\nBcc: b@example.com"})


@pytest.fixture
def receiver():
    """An HTTP server that answers with the next of `answers` and keeps what it got."""
    got, answers = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, json.loads(body), dict(self.headers)))
            status = answers.pop(0) if answers else 204
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_): ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    server.got, server.answers = got, answers
    server.url = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def reachable(monkeypatch):
    monkeypatch.setenv("LANEWORK_ALLOW_PRIVATE", "1")


async def test_a_webhook_does_not_reach_private_addresses(call, receiver):
    job = await call("webhook", {"url": receiver.url})

    assert (job.status, job.error["type"], job.attempt) == ("failed", "Permanent", 1)
    assert receiver.got == []


async def test_a_webhook_posts_its_body(call, receiver, reachable):
    job = await call("webhook", {"url": f"{receiver.url}/hook", "body": {"n": 1}, "headers": {"X-Key": "v"}})

    assert job.result == {"status": 204}
    path, body, headers = receiver.got[0]
    assert (path, body, headers["X-Key"]) == ("/hook", {"n": 1}, "v")


@pytest.mark.parametrize("status", [400, 503])
async def test_a_webhook_fails_on_an_error_status(call, receiver, reachable, status):
    receiver.answers.append(status)

    job = await call("webhook", {"url": receiver.url}, max_attempts=1)

    assert (job.status, job.error["type"]) == ("failed", "HTTPStatusError")


async def test_a_webhook_gives_up_on_a_server_that_does_not_answer(call, reachable):
    async def keep_silent(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as silent:
        url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        job = await call("webhook", {"url": url, "timeout": 0.2}, max_attempts=1)

    assert job.error["type"] == "ReadTimeout"


async def test_a_thumbnail_fits_its_box(call, settings):
    settings.files_dir.mkdir()
    Image.new("RGB", (400, 200), "red").save(settings.files_dir / "in.png")

    job = await call("thumbnail", {"path": "in.png", "width": 100, "height": 100})

    assert job.result == {"path": "in-100x100.png", "width": 100, "height": 50}
    with Image.open(settings.files_dir / "in-100x100.png") as made:
        assert made.size == (100, 50)


@pytest.mark.parametrize(
    ("path", "told"),
    [("../secret.png", "outside"), ("/etc/passwd", "outside"), ("none.png", "no file"), ("a.txt", "cannot")],
)
async def test_a_thumbnail_of_what_is_no_image_of_ours_fails_at_once(call, settings, path, told):
    settings.files_dir.mkdir()
    (settings.files_dir / "a.txt").write_text("text")

    job = await call("thumbnail", {"path": path})

    assert (job.status, job.attempt) == ("failed", 1)
    assert told in job.error["message"]


async def test_a_report_is_written_as_csv(call, settings):
    rows = [{"name": "Ada", "n": 1}, {"name": 'B, "C"', "more": True}]

    job = await call("generate_report", {"rows": rows})

    with (settings.files_dir / job.result["path"]).open(newline="") as file:
        assert list(csv.reader(file)) == [["name", "n", "more"], ["Ada", "1", ""], ['B, "C"', "", "True"]]


async def test_a_report_is_written_as_html_and_escaped(call, settings):
    job = await call("generate_report", {"rows": [{"<b>": "<script>"}], "format": "html", "output": "r.html"})

    text = (settings.files_dir / job.result["path"]).read_text()
    assert "<th>&lt;b&gt;</th>" in text
    assert "<script>" not in text
