import pytest

from runtime import Retry


def test_the_delay_is_random_between_nothing_and_a_doubling_bound():
    retry = Retry(max_attempts=10, base=1, cap=60)

    for tries, bound in [(1, 1), (2, 2), (3, 4), (7, 60), (1000, 60)]:
        delays = [retry.delay(tries) for _ in range(200)]
        assert 0 <= min(delays) < 0.2 * bound
        assert 0.8 * bound < max(delays) <= bound


@pytest.mark.parametrize("wrong", [{"max_attempts": 0}, {"base": -1}, {"cap": -1}])
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"max_attempts|seconds"):
        Retry(**wrong)
