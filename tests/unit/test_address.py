"""What LANEWORK_REDIS_URL may say."""

import pytest

from runtime.errors import SettingsInvalid
from runtime.store.address import Address


def test_a_cluster_is_its_nodes():
    found = Address.of("rediss+cluster://ann:p%40ss@one:7000,two,[::1]:7001?ssl_ca_certs=/ca.pem")

    assert (found.kind, found.hosts) == ("cluster", [("one", 7000), ("two", 6379), ("::1", 7001)])
    assert found.options == {"username": "ann", "password": "p@ss", "ssl": True, "ssl_ca_certs": "/ca.pem"}


def test_sentinels_name_a_primary():
    found = Address.of("redis+sentinel://:secret@one,two:26380/jobs/3?sentinel_password=other")

    assert (found.kind, found.hosts, found.service) == ("sentinel", [("one", 26379), ("two", 26380)], "jobs")
    assert (found.options, found.sentinel_options) == ({"password": "secret", "db": 3}, {"password": "other"})


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://somewhere", "begins with one of: redis://"),
        ("somewhere:6379", "begins with one of"),
        ("redis+cluster://one/3", "a cluster has no databases"),
        ("redis+cluster://", "hosts are named HOST:PORT"),
        ("redis+cluster://one,,two", "hosts are named HOST:PORT"),
        ("redis+sentinel://one", "the name of the primary comes behind the sentinels"),
        ("redis+sentinel://one/jobs/last", "a database is a number"),
        ("redis://one:99999", "a port is a number below 65536"),
        ("redis://one?nonsense=1", "nonsense is none of the options"),
        ("redis+cluster://one?db=2", "host, port and database do not stand in the query"),
        ("redis+cluster://one?host=two", "host, port and database do not stand in the query"),
        ("redis://one?ssl_ca_certs=/ca.pem", "ssl_ca_certs is for TLS: rediss://"),
        ("redis+sentinel://one/jobs?sentinel_retry=1", "sentinel_retry is none of the options"),
        ("redis+cluster://ann:pa/ss@one", "what is special in a password is percent-encoded"),
    ],
)
def test_what_it_cannot_be_is_told_without_a_password(url, why):
    with pytest.raises(SettingsInvalid, match=why) as refused:
        Address.of(url)

    assert "ss@one" not in str(refused.value)
