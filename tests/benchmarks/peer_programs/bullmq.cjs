// BullMQ: a producer that adds in bulk, or a worker with 100 jobs at once; completed jobs are kept.
'use strict';
const fs = require('fs');
const { Queue, Worker } = require(process.env.MODULES + '/node_modules/bullmq');
const connection = { host: '127.0.0.1', port: Number(process.env.BENCH_PORT) };

async function produce(jobs) {
  const queue = new Queue('bench', { connection });
  for (let from = 0; from < jobs; from += 1000) {
    const batch = Array.from({ length: Math.min(1000, jobs - from) }, (_, i) => ({ name: 'noop', data: { x: from + i } }));
    await queue.addBulk(batch);
  }
  await queue.close();
}

function work() {
  let first = true;
  const worker = new Worker('bench', async (job) => {
    if (first) {
      first = false;
      fs.writeFileSync(process.env.BENCH_MARK, String(process.hrtime.bigint()));
    }
    return job.data.x;
  }, { connection, concurrency: 100 });
  worker.on('error', (error) => console.error(error));
}

if (process.env.BENCH_ROLE === 'producer') produce(Number(process.env.BENCH_JOBS));
else work();
