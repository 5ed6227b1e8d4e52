"""Where a job stands in a distributed trace: W3C Trace Context, and spans where OpenTelemetry is installed.

https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple

from runtime.errors import SettingsInvalid

try:
    from opentelemetry import trace as otel
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    extract = TraceContextTextMapPropagator().extract
except ImportError:  # the extra `otel` brings it
    otel = extract = Context = None  # type: ignore[assignment,misc]

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,510}")
_NO_SPAN = nullcontext()
_NAME = "lanework"  # of the library that makes the spans
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Trace(NamedTuple):
    """The headers `traceparent` and `tracestate`."""

    parent: str
    state: str = ""

    @property
    def id(self) -> str:
        """Of the trace: 32 hexadecimal digits."""
        return self.parent[3:35]

    @property
    def headers(self) -> dict[str, str]:
        return {"traceparent": self.parent} | ({"tracestate": self.state} if self.state else {})


CURRENT: ContextVar[Trace | None] = ContextVar("trace", default=None)  # of the request, or the attempt, that runs


def parse(parent: str, state: str = "") -> Trace | None:
    """From the headers' values; None for what is no `traceparent` (section 3.2.2). An odd `tracestate` is left
    out."""
    found = _PARENT.fullmatch(parent.strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return Trace(f"00-{trace_id}-{span_id}-{flags}", state if _STATE.fullmatch(state) else "")


class _Setup:
    """Whether OpenTelemetry is set up, looked at once a second: asking takes a microsecond, for every attempt."""

    is_there = False
    look_again = 0.0


def makes_spans() -> bool:
    """Whether OpenTelemetry is installed, and set up to do something with them; known a second later."""
    if otel is None:
        return False
    now = time.monotonic()
    if now >= _Setup.look_again:
        _Setup.look_again = now + 1
        _Setup.is_there = not isinstance(otel.get_tracer_provider(), otel.ProxyTracerProvider)
    return _Setup.is_there


def current() -> Trace | None:
    """What a job that is stored now belongs to: the span that is open, else the request or attempt that runs."""
    return (_of_span(otel.get_current_span()) if makes_spans() else None) or CURRENT.get()


def producing(function: str, count: int = 1) -> AbstractContextManager[None]:
    """A span in which jobs are stored."""
    return _producing(function, count) if makes_spans() else _NO_SPAN


@contextmanager
def _producing(function: str, count: int) -> Iterator[None]:
    attributes = {**_about(function), "messaging.operation.type": "send", "messaging.batch.message_count": count}
    kind = otel.SpanKind.PRODUCER
    tracer = otel.get_tracer(_NAME)
    with tracer.start_as_current_span(f"send {function}", _parent(), kind, attributes):
        yield


def is_traced(trace: Trace | None) -> bool:
    """Whether an attempt of a job with this trace needs `consuming`."""
    return trace is not None or makes_spans()


class Consumed:
    """The span of an attempt, if there is one."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def end(self, outcome: str) -> None:
        """Notes how the attempt ended."""
        if self._span is not None:
            self._span.set_attribute("lanework.outcome", outcome)
            if outcome in ("retry", "failed", "lost"):
                self._span.set_status(otel.StatusCode.ERROR, outcome)


@contextmanager
def consuming(trace: Trace | None, function: str, job_id: str, attempt: int) -> Iterator[Consumed]:
    """A span in which an attempt runs: the first one's is a child of what stored the job, later ones link to it."""
    token = CURRENT.set(trace)
    try:
        if not makes_spans():
            yield Consumed()
            return
        attributes: dict[str, Any] = {
            **_about(function),
            "messaging.operation.type": "process",
            "messaging.message.id": job_id,
            "lanework.attempt": attempt,
        }
        stored_in = None if trace is None else extract(trace.headers)
        is_child = attempt == 1 and stored_in is not None
        links = [] if is_child or stored_in is None else [otel.Link(_span_context(stored_in))]
        with otel.get_tracer(_NAME).start_as_current_span(
            f"process {function}", stored_in if is_child else Context(), otel.SpanKind.CONSUMER, attributes, links
        ) as span:
            own = _of_span(span)
            if own is not None:
                CURRENT.set(own)
            yield Consumed(span)
    finally:
        CURRENT.reset(token)


def send_spans() -> None:
    """Sets OpenTelemetry up by its own variables, where they name a collector (OTEL_EXPORTER_OTLP_ENDPOINT).

    Raises SettingsInvalid where they do and the extra `otel` is not installed.
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS) or makes_spans():
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingsInvalid(f"{_ENDPOINTS[0]} is set: install lanework[otel], which sends spans there") from None
    os.environ.setdefault("OTEL_SERVICE_NAME", _NAME)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    otel.set_tracer_provider(provider)
    _Setup.look_again = 0.0


def _about(function: str) -> dict[str, Any]:
    """The attributes of messaging spans (OpenTelemetry semantic conventions)."""
    return {"messaging.system": _NAME, "messaging.destination.name": function}


def _parent() -> Any:
    """The context for a span where none is open: that of the request or attempt that runs."""
    trace = CURRENT.get()
    if trace is None or otel.get_current_span().get_span_context().is_valid:
        return None
    return extract(trace.headers)


def _span_context(context: Any) -> Any:
    return otel.get_current_span(context).get_span_context()


def _of_span(span: Any) -> Trace | None:
    found = span.get_span_context()
    if not found.is_valid:
        return None
    return Trace(
        f"00-{found.trace_id:032x}-{found.span_id:016x}-{int(found.trace_flags):02x}", found.trace_state.to_header()
    )
