"""Times and lengths of time as people write them."""

import pytest

from runtime.values import durations


@pytest.mark.parametrize(
    "text", [1_700_000_000_000, "1700000000000", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00"]
)
def test_a_point_in_time(text):
    assert durations.unix_ms(text) == 1_700_000_000_000


@pytest.mark.parametrize("text", ["", "soon", "2030", "2023-11-14T22:13:20", "-1700000000000", "9" * 15, True, 1.5])
def test_what_is_no_point_in_time_says_what_is(text):
    with pytest.raises(ValueError, match="Unix milliseconds or RFC 3339"):
        durations.unix_ms(text)
