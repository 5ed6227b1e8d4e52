from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from runtime.values import codec
from runtime.values.clock import rfc3339

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json_values)
def test_json_values_come_back_as_they_went(value):
    assert codec.unpack(codec.pack(value)) == value


class Model(BaseModel):
    on: date


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Model(on=date(2026, 1, 2)), {"on": "2026-01-02"}),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (Path("a/b"), "a/b"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (
            {
                1,
            },
            [1],
        ),
    ],
)
def test_what_pydantic_can_make_plain_is_made_plain(value, plain):
    assert codec.unpack(codec.pack(value)) == plain


def test_bytes_stay_bytes_in_redis_and_are_marked_in_json():
    assert codec.unpack(codec.pack(b"\x00\xff")) == b"\x00\xff"
    assert codec.to_json({"file": b"\x00\xff"}) == b'{"file":{"$base64":"AP8="}}'


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, -(2**63), 2**64 - 1, 2**64, 10**30, -(10**30)])
def test_integers_of_json_are_exact(number):
    assert codec.from_json(b'[%d, "%d"]' % (number, number)) == [number, str(number)]


@pytest.mark.parametrize(
    "text", [b"[NaN, 1234567890123456789]", b"1" * 5000, b"[" * 2000 + b"1" * 20 + b"]" * 2000]
)
def test_what_is_not_json_or_too_much_of_it_is_an_error(text):
    with pytest.raises(ValueError, match=r".+"):
        codec.from_json(text)


@pytest.mark.parametrize("value", [object(), 2**70])
def test_what_cannot_be_packed_is_an_error_of_its_own(value):
    with pytest.raises((TypeError, ValueError)):
        codec.pack(value)


@given(st.lists(st.integers(0, 2**32)))
def test_values_packed_one_after_the_other_come_apart_again(values):
    assert codec.unpack_stream(b"".join(codec.pack(v) for v in values)) == values


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "1970-01-01T00:00:00.000Z"), (1_700_000_000_123, "2023-11-14T22:13:20.123Z")]
)
def test_times_are_shown_in_utc_with_milliseconds(ms, text):
    assert rfc3339(ms) == text
    assert rfc3339(None) is None


def test_long_integers_nested_deeply_are_an_error_and_not_a_crash():
    with pytest.raises((ValueError, TypeError)):  # from the parser; from Python 3.12 on, where it is to be stored
        codec.pack_shown(codec.from_json(b"[" * 990 + b"1234567890123456789" + b"]" * 990))
