"""Which ticks of a schedule have passed."""

import pytest

from runtime.handlers.schedule import Schedule

MINUTE = 60_000


@pytest.mark.parametrize("minutes", [5, 5000])
@pytest.mark.parametrize("beyond", [0, 1, 59_500, 59_999])
def test_the_last_tick_is_never_one_to_come(minutes, beyond):
    now = minutes * MINUTE + beyond

    last, before = Schedule("* * * * *").missed(0, now)

    assert last == minutes * MINUTE
    assert before == min(minutes, 1000) - 1
