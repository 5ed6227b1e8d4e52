"""gRPC as JavaScript has it: `@grpc/grpc-js` with the .proto files and by reflection, and Connect's own client.

They are packages of npm, in the folder that LANEWORK_TEST_NODE names.
"""

import asyncio
import json
import shutil
import signal
from pathlib import Path

import pytest

from runtime.rpc import PROTO
from tests.conftest import serving

WAIT = 60
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

LOADED = """
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';
const [target, proto] = process.argv.slice(2);
const options = { includeDirs: [proto], longs: Number, enums: String };
const definition = loader.loadSync('lanework/v1/jobs.proto', options);
const { JobService } = grpc.loadPackageDefinition(definition).lanework.v1;
const jobs = new JobService(target, grpc.credentials.createInsecure());
const ask = (method, request) => new Promise((resolve, reject) => jobs[method](
  request, { deadline: Date.now() + 20000 }, (error, reply) => error ? reject(error) : resolve(reply)));

const { job } = await ask('EnqueueJob', { type: 'add', payload: Buffer.from('{"a": 5, "b": 3}') });
const events = [];
for await (const event of jobs.WatchJob({ id: job.id })) events.push(event);
const stored = await new Promise((resolve, reject) => {
  const stream = jobs.EnqueueJobs((error, reply) => error ? reject(error) : resolve(reply));
  for (let n = 0; n < 3; n++) stream.write({ jobs: [{ type: 'add', payload: Buffer.from(`{"a": ${n}}`) }] });
  stream.end();
});
const wrong = await ask('EnqueueJob', { type: 'nobody' }).catch((error) => error);
console.log(JSON.stringify({
  result: events.at(-1).settled.result.toString(), status: events.at(-1).settled.status,
  stored: stored.stored, code: wrong.code, details: wrong.metadata.get('grpc-status-details-bin').length,
}));
jobs.close();
"""

REFLECTED = """
import grpc from '@grpc/grpc-js';
import reflection from 'grpc-js-reflection-client';
const [target] = process.argv.slice(2);
const client = new reflection.GrpcReflection(target, grpc.ChannelCredentials.createInsecure());
const services = await client.listServices();
const descriptor = await client.getDescriptorBySymbol('mpataki.jobqueue.v1.JobService');
const { JobService } = descriptor.getPackageObject().mpataki.jobqueue.v1;
const jobs = new JobService(target, grpc.credentials.createInsecure());
const job = await new Promise((resolve, reject) => jobs.EnqueueJob(
  { type: 'add', payload: Buffer.from('{"a": 1}') }, (error, reply) => error ? reject(error) : resolve(reply.job)));
console.log(JSON.stringify({ services, type: job.type, status: job.status }));
process.exit(0);
"""

CONNECT = """
import { createClient, ConnectError, Code } from '@connectrpc/connect';
import { createConnectTransport } from '@connectrpc/connect-node';
import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { readFileSync } from 'node:fs';
const [url, image] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(image)));
const service = registry.getService('lanework.v1.JobService');
const shown = [];
for (const useBinaryFormat of [false, true]) {
  const jobs = createClient(service, createConnectTransport({ baseUrl: url, httpVersion: '1.1', useBinaryFormat }));
  const { job, created } = await jobs.enqueueJob({ type: 'add', payload: new TextEncoder().encode('{"a": 1}') });
  const found = await jobs.getJob({ id: job.id });
  const wrong = { type: 'add', payload: new TextEncoder().encode('{}') };
  const error = await jobs.enqueueJob(wrong).catch(ConnectError.from);
  shown.push({
    created, same: found.job.id === job.id, payload: new TextDecoder().decode(found.job.payload),
    code: Code[error.code], details: error.details.map((detail) => detail.type),
  });
}
console.log(JSON.stringify(shown));
"""


async def test_grpc_js_calls_every_kind_of_method_with_the_proto(node, served, worker):
    async def add(a: int, b: int = 0) -> int:
        return a + b

    async with worker(add=add):
        shown = await node(LOADED, served.target, str(PROTO))

    assert shown == {"result": "8", "status": "JOB_STATUS_COMPLETED", "stored": 3, "code": 5, "details": 1}


@pytest.mark.usefixtures("deployed")
async def test_grpc_js_finds_the_services_by_reflection(node, served):
    shown = await node(REFLECTED, served.target)

    assert {"lanework.v1.JobService", "mpataki.jobqueue.v1.JobService"} <= set(shown["services"])
    assert shown["type"] == "add"


@pytest.mark.usefixtures("deployed")
async def test_connects_own_client_calls_in_json_and_in_binary(node, settings):
    image = Path(__file__).parent / "released.binpb"
    async with serving(settings) as http:
        shown = await node(CONNECT, str(http.base_url), str(image))

    assert (
        shown
        == [
            {
                "created": True,
                "same": True,
                "payload": '{"a":1}',
                "code": "InvalidArgument",
                "details": ["google.rpc.ErrorInfo", "google.rpc.BadRequest"],
            }
        ]
        * 2
    )


async def test_the_example_of_a_worker_in_javascript_works(node, tmp_path, served, client):
    shutil.copy(EXAMPLES / "worker.mjs", tmp_path)
    process = await asyncio.create_subprocess_exec(
        "node", "worker.mjs", served.target, str(PROTO), cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(WAIT):
            assert process.stdout is not None
            welcome = json.loads(await process.stdout.readline())
            job = await client.wait(await client.enqueue("shout", {"text": "hello"}), WAIT)
            parent = await client.wait(await client.enqueue("shout_all", {"texts": ["a", "b"]}), WAIT)
            children = [await client.wait(job_id, WAIT) for job_id in parent.result]
            endless = await client.enqueue("wait_for_stop")
            async for event in client.watch(endless.id):
                if event.status == "running":
                    await client.cancel(endless.id)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()

    assert (job.result, job.progress["done"]) == ("HELLO", 1)
    assert (parent.children, [child.result for child in children]) == (parent.result, ["A", "B"])
    assert children[0].tags == {"by": "shout_all"}
    assert job.attempts[0]["worker"] == welcome["welcome"]
    assert (await client.get(endless.id)).status == "cancelled"
    assert await client.workers() == []
