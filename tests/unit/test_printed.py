"""What handlers print in the worker's own process."""

import io
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import structlog

from runtime import log
from runtime.worker import printed


@pytest.fixture
def output():
    return printed._Stream(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))


def attempt(name):
    return SimpleNamespace(id=name, type="f", attempt=1)


@contextmanager
def speaks(attempt):
    speaker = log.Speaker(attempt)
    before = log.SPEAKER.set(speaker)
    yield speaker
    log.SPEAKER.reset(before)
    printed.end(speaker)


def test_lines_are_told_with_their_attempt_and_half_a_line_at_its_end(output):
    with structlog.testing.capture_logs() as logs:
        with speaks(attempt("a")):
            print("one\ntwo", file=output)
            print("half", end="", file=output)
        print("outside", file=output)

    assert [(e["job"], e["line"]) for e in logs] == [("a", "one"), ("a", "two"), ("a", "half")]
    output.flush()
    assert output.buffer.getvalue() == b"outside\n"


def test_what_is_printed_after_an_attempt_is_told_as_its_own(output):
    late = attempt("late")
    with structlog.testing.capture_logs() as logs:
        with speaks(late) as speaker:
            pass
        before = log.SPEAKER.set(speaker)  # as in a thread that goes on
        print("too", "late", file=output)
        log.SPEAKER.reset(before)
        with speaks(attempt("next")):
            print("next", file=output)

    assert [(e["job"], e["line"]) for e in logs] == [("late", "too late"), ("next", "next")]


def test_a_thousand_lines_are_told_and_the_rest_is_counted(output):
    with structlog.testing.capture_logs() as logs:
        with speaks(attempt("a")) as speaker:
            for _ in range(1500):
                print("xxx", file=output)
        before = log.SPEAKER.set(speaker)  # as in a thread that goes on
        for _ in range(1500):
            print("late", file=output)
        log.SPEAKER.reset(before)

    assert [e["event"] for e in logs] == ["function.printed"] * 1000 + ["output.cut", "output.left_out"]
    assert logs[-1]["lines"] == 500


def test_the_streams_other_methods_are_there(output):
    output.buffer.write(b"bytes")
    output.reconfigure(errors="replace")

    assert output.writable()
    assert (output.encoding, output.errors) == ("utf-8", "replace")
