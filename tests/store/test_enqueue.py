from runtime.store.rows import NewJob
from runtime.values import codec, ids


async def test_a_stored_job_waits_in_its_lane(store):
    (job_id,) = await store.enqueue("resize", "high", payload={"n": 1})

    job = await store.jobs.get(job_id)

    assert (job.type, job.lane, job.status, job.payload) == ("resize", "high", "pending", {"n": 1})
    assert await store.length("resize", "high") == 1


async def test_a_batch_sent_again_after_a_lost_answer_is_stored_once(store):
    batch = [NewJob(ids.new_id(), "f", "normal", codec.pack(n), 3) for n in range(5)]

    first = await store.jobs.enqueue(batch)
    again = await store.jobs.enqueue(batch)

    assert again >= first
    assert await store.length() == 5


async def test_redis_time_is_the_time_of_creation(store):
    seconds, micros = await store.client.time()

    (job_id,) = await store.enqueue()

    assert 0 <= (await store.jobs.get(job_id)).created_at - (seconds * 1000 + micros // 1000) < 1000
