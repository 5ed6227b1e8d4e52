import uuid

import pytest

from runtime.values import ids


def test_an_id_is_a_uuid_of_version_7():
    made = uuid.UUID(ids.new_id(0))

    assert made.version == 7
    assert made.variant == uuid.RFC_4122


@pytest.mark.parametrize("shard", [0, 1, 255, ids.MAX_SHARDS - 1])
def test_an_id_names_its_shard(shard):
    assert ids.shard_of(ids.new_id(shard)) == shard


def test_ids_sort_by_the_time_of_their_making(monkeypatch):
    times = iter([1_700_000_000_000, 1_700_000_000_001, 1_900_000_000_000])
    monkeypatch.setattr(ids.time, "time_ns", lambda: next(times) * 1_000_000)

    made = [ids.new_id(n) for n in (4000, 7, 0)]

    assert made == sorted(made)


@pytest.mark.parametrize(
    "text",
    ["", "x", "0" * 36, str(uuid.uuid4()), ids.new_id().upper(), ids.new_id() + "0", ids.new_id()[:-1] + "g"],
)
def test_other_texts_are_not_ids(text):
    assert not ids.is_id(text)
    assert ids.is_id(ids.new_id())
