// A worker in JavaScript: it serves functions of its own, in its own language, and takes their jobs from a gateway.
//
//   npm install @grpc/grpc-js @grpc/proto-loader
//   node worker.mjs localhost:50051 path/to/proto
//
// The proto folder is that of the package: python -c 'import runtime.rpc; print(runtime.rpc.PROTO)'
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const [target, proto] = process.argv.slice(2);
const definition = loader.loadSync(['lanework/v1/jobs.proto', 'lanework/v1/worker.proto'], {
  includeDirs: [proto], keepCase: true, longs: Number, enums: String,
});
const { WorkerService } = grpc.loadPackageDefinition(definition).lanework.v1;

// what it can do: a contract, and a handler that gets the payload and a context
const functions = {
  shout: {
    doc: 'Write a text in capitals.',
    schema: { type: 'object', properties: { text: { type: 'string' } }, required: ['text'], additionalProperties: false },
    options: { timeout: '30s', retry: 3 },
    handle: async ({ text }, context) => {
      context.log('shouting', { length: text.length });
      context.progress(1, 1);
      return text.toUpperCase();
    },
  },
  shout_all: {
    doc: 'Shout each of some texts, each as a job of its own.',
    schema: { type: 'object', properties: { texts: { type: 'array', items: { type: 'string' } } }, required: ['texts'] },
    options: { timeout: '30s', retry: 3 },
    // the jobs start once this attempt has completed, and only then
    handle: async ({ texts }, context) => texts.map((text) => context.start('shout', { text }, { tags: { by: 'shout_all' } })),
  },
  wait_for_stop: {
    doc: 'Wait until somebody cancels the job.',
    options: { timeout: '1h', retry: 1 },
    handle: (_payload, context) => new Promise((_, reject) => {
      context.signal.addEventListener('abort', () => reject(new Error('told to stop')));
    }),
  },
};

const credentials = grpc.credentials.createInsecure();
const metadata = new grpc.Metadata();
if (process.env.LANEWORK_KEY) metadata.set('authorization', `Bearer ${process.env.LANEWORK_KEY}`);
const running = new Map(); // what can be told to stop, by job and attempt
let leaves = false;

function connect() {
  // a payload as JSON may be several times as large as its limit of 1 MiB
  const client = new WorkerService(target, credentials, { 'grpc.max_receive_message_length': 16 << 20 });
  const stream = client.Work(metadata);
  let renewing;

  stream.write({ hello: {
    name: 'node', slots: 4,
    functions: Object.entries(functions).map(([name, { doc, schema, options }]) => ({
      name, doc, schema: schema ? JSON.stringify(schema) : '', options: JSON.stringify(options),
    })),
  } });

  stream.on('data', (message) => {
    if (message.welcome) {
      console.log(JSON.stringify({ welcome: message.welcome.worker_id }));
      // something has to be heard of it at least once in lease_ms
      renewing = setInterval(() => stream.write({ renew: {} }), message.welcome.lease_ms / 4);
    } else if (message.attempt) {
      run(stream, message.attempt);
    } else if (message.cancel) {
      running.get(`${message.cancel.job_id} ${message.cancel.attempt}`)?.abort();
    }
  });
  stream.on('error', (error) => console.error(JSON.stringify({ code: error.code, why: error.details })));
  stream.on('status', () => { // it has ended, however
    clearInterval(renewing);
    client.close();
    for (const attempt of running.values()) attempt.abort(); // others have them now
    if (!leaves) setTimeout(connect, 1000);
  });
  process.once('SIGTERM', () => { leaves = true; stream.write({ leave: {} }); });
}

// The id that is so much higher.
function following(id, number) {
  const digits = (BigInt(`0x${id.replaceAll('-', '')}`) + BigInt(number)).toString(16).padStart(32, '0');
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

async function run(stream, { job_id, attempt, type, payload, payload_encoding, start_id }) {
  const about = { job_id, attempt };
  const tell = (message) => stream.write({ ...about, ...message });
  const stopping = new AbortController();
  let starts = 0;
  running.set(`${job_id} ${attempt}`, stopping);
  const context = {
    signal: stopping.signal,
    progress: (done, total) => tell({ progress: { done, total } }),
    log: (event, fields = {}) => tell({ line: { level: 'info', event, fields: JSON.stringify(fields) } }),
    start: (type, payload, options = {}) => { // gives the id of the job
      const job = { type, payload: Buffer.from(JSON.stringify(payload ?? null)), payload_encoding: 'ENCODING_JSON', options: JSON.stringify(options) };
      tell({ start: { number: starts, job } });
      return following(start_id, starts++);
    },
    emit: (chunk) => tell({ output: { value: Buffer.from(JSON.stringify(chunk)), encoding: 'ENCODING_JSON' } }),
  };
  try {
    const given = payload_encoding === 'ENCODING_JSON' ? JSON.parse(payload.toString()) : payload;
    const result = await functions[type].handle(given, context);
    if (stopping.signal.aborted) tell({ stopped: {} }); // what it returned may be half-done work
    else tell({ completed: { result: Buffer.from(JSON.stringify(result ?? null)), result_encoding: 'ENCODING_JSON' } });
  } catch (error) {
    if (stopping.signal.aborted) tell({ stopped: {} });
    else tell({ failed: { type: error.name, message: error.message, traceback: error.stack } });
  } finally {
    running.delete(`${job_id} ${attempt}`);
  }
}

connect();
