"""The API as JavaScript's own tools use it: a linter, the official SDK of CloudEvents, and EventSource.

They are the packages @redocly/cli, cloudevents and eventsource of npm, in the folder that LANEWORK_TEST_NODE names.
"""

import asyncio
import json

from runtime import Context, Event, function

WAIT = 60


async def test_redocly_finds_nothing_in_the_document(node, http, worker, tmp_path):
    @function(on="order.*")
    async def words(text: str, least: int = 1) -> dict[str, int]:
        """Count the words of a text."""
        return {"words": len(text.split())}

    async with worker(words=words):
        (tmp_path / "openapi.json").write_text((await http.get("/openapi.json")).text)
    redocly = tmp_path / "node_modules" / ".bin" / "redocly"

    said = await node.command(str(redocly), "lint", "--format=json", "openapi.json")

    report = json.loads(said[said.index(b"{") :])
    assert [problem["message"] for problem in report["problems"]] == []


EVENTS = """
import { CloudEvent, HTTP } from "cloudevents";
const base = process.argv[2];
const event = new CloudEvent({
  type: "order.created", source: "/shop", id: "e1", subject: "Kö 1%", vip: true, data: { order: "o1" },
});
const replies = [];
for (const message of [HTTP.binary(event), HTTP.structured(event)]) {
  const reply = await fetch(`${base}/events`, { method: "POST", headers: message.headers, body: message.body });
  replies.push([reply.status, await reply.json()]);
}
const batch = { headers: { "content-type": "application/cloudevents-batch+json" } };
const body = JSON.stringify([event.cloneWith({ id: "e2" })]);
const reply = await fetch(`${base}/events`, { method: "POST", headers: batch.headers, body });
replies.push([reply.status, await reply.json()]);
console.log(JSON.stringify(replies));
"""


async def test_the_sdk_of_cloudevents_publishes_in_every_mode(node, http, client, worker):
    @function(on="order.*")
    async def hear(event: Event, order: str) -> list:
        return [order, event.subject, event.extensions]

    async with worker(hear=hear):
        binary, structured, batch = await node(EVENTS, str(http.base_url).rstrip("/"))
        assert (binary[0], structured[0], batch[0]) == (202, 202, 202), binary
        job = await client.wait(binary[1]["jobs"][0], WAIT)

    assert (binary[1]["new"], structured[1]["new"]) == (True, False)
    assert binary[1]["jobs"] == structured[1]["jobs"]
    assert batch[1]["results"][0]["jobs"] != binary[1]["jobs"]
    assert job.result == ["o1", "Kö 1%", {"vip": "true"}]


FOLLOW = """
import { EventSource } from "eventsource";
const source = new EventSource(process.argv[2]);
const heard = [];
for (const kind of ["status", "output", "log", "progress", "settled", "gap"])
  source.addEventListener(kind, (event) => heard.push([kind, event.lastEventId, JSON.parse(event.data)]));
source.addEventListener("error", (event) => {
  if (source.readyState === EventSource.CLOSED) console.log(JSON.stringify({ heard, code: event.code }));
});
"""


async def test_eventsource_follows_a_job_to_its_end_and_stops(node, http, worker):
    async def words(ctx: Context, count: int) -> int:
        for n in range(count):
            ctx.emit(f"word {n}")
            await asyncio.sleep(0.05)
        return count

    async with worker(words=words):
        job = (await http.post("/jobs", json={"type": "words", "payload": {"count": 20}})).json()
        said = await node(FOLLOW, f"{str(http.base_url).rstrip('/')}/jobs/{job['id']}")

    kinds = [kind for kind, _, _ in said["heard"]]
    assert [data["output"] for kind, _, data in said["heard"] if kind == "output"] == [
        f"word {n}" for n in range(20)
    ]
    assert (kinds[-1], kinds.count("settled"), "gap" in kinds) == ("settled", 1, False)
    assert said["code"] == 204  # it asked once more behind the end
