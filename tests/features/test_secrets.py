"""Secret fields of a payload: for the handler alone."""

import json
from typing import Annotated

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretBytes, SecretStr

from runtime.errors import PayloadInvalid
from runtime.handlers.spec import Function
from runtime.jobs.request import JobRequest
from runtime.store.access import issue
from runtime.values import secret_fields
from tests.conftest import deploy, until_keys_are_asked_for


class Login(BaseModel):
    user: str
    password: SecretStr


async def mail(to: str, login: Login, token: SecretStr, note: str = "") -> str:
    return f"{login.password.get_secret_value()} {token.get_secret_value()}"[:0] + to


PAYLOAD = {"to": "a@example.com", "login": {"user": "ada", "password": "hunter2"}, "token": "t0ken"}
SHOWN = {"to": "a@example.com", "login": {"user": "ada", "password": "***"}, "token": "***"}


async def test_the_handler_gets_it_and_nobody_else(client, http, worker):
    got = []

    async def mail(to: str, login: Login, token: SecretStr, note: str = "") -> None:
        got.append((login.password.get_secret_value(), token.get_secret_value()))

    async with worker(mail=mail):
        posted = await http.post("/jobs?wait=10", json={"type": "mail", "payload": PAYLOAD})
        job = await client.get(posted.json()["id"])
    shown = [await http.get(path) for path in ("/jobs", f"/jobs/{job.id}", "/functions/mail", "/functions")]
    stream = await http.get(f"/jobs/{job.id}", headers={"Accept": "text/event-stream"})

    assert got == [("hunter2", "t0ken")]
    assert posted.json()["payload"] == job.payload == SHOWN
    for reply in (posted, stream, *shown):
        assert "hunter2" not in reply.text
        assert "t0ken" not in reply.text


async def test_a_new_job_is_shown_without_it_at_once_and_in_lists_that_leave_out_much(client, http):
    await deploy(client, mail=mail)
    then = [JobRequest("mail", PAYLOAD | {"note": "x" * 5000})]

    job = await client.enqueue("mail", PAYLOAD, then=then)
    (listed,) = (await client.page()).jobs

    assert job.payload == SHOWN
    assert (listed.payload, set(listed.omitted)) == (None, {"payload", "then", "event"})


async def test_follow_ups_do_not_get_it_either(client, worker):
    async def hear(payload) -> None: ...

    async with worker(mail=mail, hear=hear):
        job = await client.enqueue("mail", PAYLOAD, then=[JobRequest("hear", {"$job": ["payload", "id"]})])
        done = await client.wait(job, 10)
        told = await client.get(done.children[0])

    assert told.payload == {"payload": "***", "id": job.id}


@pytest.mark.parametrize(
    "wrong", [{"token": ["t0ken"]}, {"login": "hunter2"}, {"login": {"password": ["hunter2"]}}]
)
async def test_an_error_does_not_tell_it(client, http, wrong):
    await deploy(client, mail=mail)

    with pytest.raises(PayloadInvalid) as error:
        await client.enqueue("mail", PAYLOAD | wrong)
    reply = await http.post("/jobs", json={"type": "mail", "payload": PAYLOAD | wrong})

    assert reply.status_code == 422
    for told in (str(error.value), json.dumps(error.value.errors), reply.text):
        assert "hunter2" not in told
        assert "t0ken" not in told


def test_a_secret_in_a_list_a_union_or_a_mapping_is_masked_with_all_of_it():
    async def f(
        many: list[Login], one: Login | None, named: dict[str, SecretStr], raw: SecretBytes, n: int
    ) -> None: ...

    secret = secret_fields.rules(Function("f", f).schema)
    payload = {"many": [PAYLOAD["login"]], "one": PAYLOAD["login"], "named": {"a": "s"}, "raw": "s", "n": 1}

    masked = secret_fields.masked(payload, secret)

    assert masked == {"many": "***", "one": "***", "named": "***", "raw": "***", "n": 1}
    assert payload["raw"] == "s"


def test_a_payload_that_is_a_secret_itself_is_masked():
    async def f(payload: SecretStr) -> None: ...

    secret = secret_fields.rules(Function("f", f).schema)

    assert secret_fields.masked("s", secret) == "***"
    assert secret_fields.masked(None, secret) is None


def test_a_schema_without_secrets_has_none():
    async def f(login: dict, n: int = 0) -> None: ...

    assert secret_fields.rules(Function("f", f).schema) == []


class Aliased(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    key: SecretStr = Field(alias="apiKey")
    token: SecretStr = Field(validation_alias=AliasChoices("tok", "token"))
    n: int = 0


def test_a_secret_is_masked_by_whatever_name_its_model_knows_it():
    async def f(one: Aliased) -> None: ...

    hidden = secret_fields.rules(Function("f", f).schema)

    assert secret_fields.masked({"one": {"key": "LEAK", "token": "LEAK", "n": 1}}, hidden) == {
        "one": {"key": "***", "token": "***", "n": 1}
    }


class Node(BaseModel):
    secret: SecretStr
    left: "Node | None" = None
    right: "Node | None" = None
    only: "Other | None" = None
    n: int = 0


class Other(BaseModel):
    node: Node
    others: "list[Other]" = []


Node.model_rebuild()


def test_a_schema_that_contains_itself_is_masked_where_it_does():
    async def f(node: Node) -> None: ...

    hidden = secret_fields.rules(Function("f", f).schema)
    leaf = {"secret": "LEAK", "n": 1}

    assert len(hidden) < 10
    assert secret_fields.masked({"node": {**leaf, "left": leaf}}, hidden) == {
        "node": {"secret": "***", "n": 1, "left": "***"}
    }


def test_a_schema_with_very_many_secrets_is_secret_as_a_whole():
    part = {"type": "object", "properties": {"s": {"type": "string", "writeOnly": True}}}
    wide = {"type": "object", "properties": {f"n{n}": part for n in range(200)}}

    assert secret_fields.masked({"n1": {"s": "LEAK"}}, secret_fields.rules(wide)) == "***"


async def test_an_error_about_a_value_with_the_word_required_does_not_tell_it(client):
    async def f(pin: Annotated[SecretStr, Field(max_length=4)]) -> None: ...

    await deploy(client, f=f)

    with pytest.raises(PayloadInvalid) as error:
        await client.enqueue("f", {"pin": "is required LEAK"})
    assert "LEAK" not in str(error.value)


async def test_a_key_that_may_not_read_does_not_get_it_back(client, http):
    await deploy(client, mail=mail)
    made, token = issue("sender", ["enqueue"])
    await client.access.add(made)
    headers = {"Authorization": f"Bearer {token}"}
    await until_keys_are_asked_for(http)

    reply = await http.post("/jobs", json={"type": "mail", "payload": PAYLOAD}, headers=headers)

    assert (reply.status_code, reply.json()["payload"]) == (202, SHOWN)
