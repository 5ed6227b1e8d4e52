import base64

import pytest

from runtime import settings
from runtime.errors import LaneUnknown, SettingsInvalid


def test_settings_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("LANEWORK_CONCURRENCY", "7")

    assert settings.load().concurrency == 7


def test_a_plain_redis_url_is_enough_and_our_own_wins(monkeypatch):
    monkeypatch.setenv("REDIS_URL", "redis://plain:1")
    assert settings.load().redis_url == "redis://plain:1"

    monkeypatch.setenv("LANEWORK_REDIS_URL", "redis://ours:1")
    assert settings.load().redis_url == "redis://ours:1"


def test_a_misspelt_setting_is_refused_with_a_suggestion():
    with pytest.raises(SettingsInvalid, match="did you mean LANEWORK_CONCURRENCY"):
        settings.load({"LANEWORK_CONCURENCY": "7"})


def test_a_bad_value_is_refused_by_name(monkeypatch):
    monkeypatch.setenv("LANEWORK_LEASE", "soon")

    with pytest.raises(SettingsInvalid, match=r"(?i)lease.*valid number"):
        settings.load()


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(ValueError, match="frozen"):
        settings.load({}).port = 1


@pytest.mark.parametrize(
    ("priority", "lane"), [(None, "normal"), ("high", "high"), (2, "high"), ("0", "low"), (1, "normal")]
)
def test_a_priority_is_a_lanes_name_or_number(priority, lane):
    assert settings.load({}).lane(priority) == lane


def test_a_range_gives_numbered_lanes_and_their_middle_is_the_default():
    given = settings.load({}, lanes="1..10")

    assert given.descending_lanes[0] == "10"
    assert given.default_lane == "5"
    assert given.lane(10) == "10"


@pytest.mark.parametrize("priority", ["urgent", 3, -1, "11"])
def test_an_unknown_lane_names_those_that_are(priority):
    with pytest.raises(LaneUnknown, match=r"low \(0\), normal \(1\), high \(2\)"):
        settings.load({}).lane(priority)


@pytest.mark.parametrize("lanes", ["", "a,a", "a b", "1..200"])
def test_lanes_that_cannot_be_are_refused(lanes):
    with pytest.raises(SettingsInvalid, match="lane"):
        settings.load({}, lanes=lanes)


@pytest.mark.parametrize(
    ("octets", "fits"), [(23, False), (24, True), (31, True), (63, True), (64, True), (65, False)]
)
def test_a_webhook_secret_has_24_to_64_bytes(octets, fits):
    secret = "whsec_" + base64.b64encode(b"k" * octets).decode()

    if fits:
        assert settings.load({}, webhook_secret=secret).webhook_secret.get_secret_value() == secret
    else:
        with pytest.raises(SettingsInvalid, match="24 to 64 bytes"):
            settings.load({}, webhook_secret=secret)
