"""The gRPC port."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha.reflection import aio as reflection_aio
from grpc_status import rpc_status

from runtime import log, metrics, tracing
from runtime.errors import LaneworkError, SettingsInvalid
from runtime.log import REQUEST
from runtime.rpc.guard import Guard
from runtime.rpc.service import Service, parsed, request_type
from runtime.rpc.status import status_of
from runtime.settings import Settings
from runtime.values import request_ids

Context = grpc.aio.ServicerContext[Any, Any]
_ID = "x-request-id"
_ALIVE_MS, _ANSWER_MS = 20_000, 10_000  # until a silent peer is asked whether it lives, and for its answer
_MESSAGE = 4 << 20  # bytes, as gRPC has it; a message of many small ones takes fifty times as much memory
_STREAMS = 1000  # at once on one connection
_CODES = {code.value[0]: code.name for code in grpc.StatusCode}
# by whether requests come as a stream, and responses go as one
_HANDLERS: dict[tuple[bool, bool], Any] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}
# reflection as clients ask for it: the older of both has the same messages
_REFLECTIONS = (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection")


class Server:
    """Serves services on a port, each call behind the guard."""

    def __init__(self, services: Sequence[Service], guard: Guard, settings: Settings) -> None:
        self._guard = guard
        self._settings = settings
        self._log = log.get("gateway")
        self._server = grpc.aio.server(
            options=[
                (
                    "grpc.max_receive_message_length",
                    max(_MESSAGE, 2 * settings.body_limit, 2 * settings.result_limit),
                ),
                ("grpc.max_concurrent_streams", _STREAMS),
                ("grpc.keepalive_time_ms", _ALIVE_MS),
                ("grpc.keepalive_timeout_ms", _ANSWER_MS),
                ("grpc.http2.min_ping_interval_without_data_ms", _ALIVE_MS // 4),
                ("grpc.so_reuseport", 0),
            ],
        )
        for service in services:
            self._server.add_generic_rpc_handlers((self._handlers(service),))
        names = [service.descriptor.full_name for service in services]
        self._server.add_generic_rpc_handlers(_reflections([*names, *_REFLECTIONS]))

    async def start(self) -> int:
        """Listens; returns the port. Raises SettingsInvalid where that is not possible."""
        address = f"{_bracketed(self._settings.host)}:{self._settings.grpc_port}"
        try:
            tls = credentials(self._settings)
            port = (
                self._server.add_insecure_port(address)
                if tls is None
                else self._server.add_secure_port(address, tls)
            )
        except RuntimeError:
            raise SettingsInvalid(f"{address} cannot be listened on; choose another with --grpc-port") from None
        await self._server.start()
        return port

    async def stop(self, grace: float) -> None:
        """Takes no more calls; those that last end within `grace` seconds, or are cancelled."""
        await self._server.stop(grace)

    def _handlers(self, service: Service) -> grpc.GenericRpcHandler:
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        for method in service.descriptor.methods:
            if method.name in service.methods:
                answer = self._streamed if method.server_streaming else self._answered
                make = _HANDLERS[method.client_streaming, method.server_streaming]
                handlers[method.name] = make(answer(service, method), None, _bytes)
        return grpc.method_handlers_generic_handler(service.descriptor.full_name, handlers)

    def _answered(self, service: Service, method: MethodDescriptor) -> Any:
        read, call = _reader(method), service.methods[method.name]

        async def answer(data: Any, context: Context) -> Message:
            async with self._call(service, method.name, context) as caller:
                response: Message = await call(read(data), caller)
                return response
            raise AssertionError  # the call was aborted

        return answer

    def _streamed(self, service: Service, method: MethodDescriptor) -> Any:
        read, call = _reader(method), service.methods[method.name]

        async def answer(data: Any, context: Context) -> None:
            async with self._call(service, method.name, context) as caller:
                await _write(context, call(read(data), caller))

        return answer

    @asynccontextmanager
    async def _call(self, service: Service, method: str, context: Context) -> AsyncIterator[str]:
        """One call: who calls, and what it comes to."""
        metadata = _texts(context)
        request_id = request_ids.named(metadata.get(_ID))
        REQUEST.set(request_id)
        tracing.CURRENT.set(_trace(metadata))
        context.set_trailing_metadata(((_ID, request_id),))
        code, authorization = "OK", metadata.get("authorization", "")
        try:
            async with self._guard.admitted(service.descriptor.full_name, method, authorization) as caller:
                yield caller
        except LaneworkError as error:
            status = status_of(error)
            code = _CODES[status.code]
            packed = rpc_status.to_status(status)
            metadata_of_error = ((_ID, request_id), *packed.trailing_metadata)
            await context.abort(packed.code, packed.details, metadata_of_error)
        except _PeerGone:
            code = "CANCELLED"
        except asyncio.CancelledError:  # by the caller, its deadline or the server's stop
            code = "CANCELLED"
            raise
        except Exception as error:
            code = "INTERNAL"
            self._log.error("request.failed", method=method, exc_info=error)
            context.set_trailing_metadata(((_ID, request_id),))
            await context.abort(grpc.StatusCode.INTERNAL, "the gateway failed; its log has the cause")
        finally:
            metrics.rpcs[service.descriptor.full_name, method, code] += 1


class _PeerGone(Exception):
    """Who called is no longer there."""


async def _write(context: Context, responses: AsyncIterator[Message]) -> None:
    try:
        async for response in responses:
            try:
                await context.write(response)
            except grpc.aio.BaseError:
                raise _PeerGone from None
    finally:
        await responses.aclose()  # type: ignore[attr-defined]


async def _each(kind: type[Message], data: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for one in data:
        yield parsed(kind, one)


def _reader(method: MethodDescriptor) -> Callable[[Any], Any]:
    """From bytes to a request, or from a stream of bytes to one of requests."""
    return partial(_each if method.client_streaming else parsed, request_type(method))


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()


def _texts(context: Context) -> Mapping[str, str]:
    """Metadata that are text, the first of each name."""
    pairs = [(str(name), value) for name, value in context.invocation_metadata() or ()]
    return {name: value for name, value in reversed(pairs) if isinstance(value, str)}


def _trace(metadata: Mapping[str, str]) -> tracing.Trace | None:
    parent = metadata.get("traceparent")
    return None if parent is None else tracing.parse(parent, metadata.get("tracestate", ""))


def _reflections(names: Sequence[str]) -> tuple[grpc.GenericRpcHandler, ...]:
    handler = grpc.stream_stream_rpc_method_handler(
        reflection_aio.ReflectionServicer(names).ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods: dict[str, Any] = {"ServerReflectionInfo": handler}
    return tuple(grpc.method_handlers_generic_handler(name, methods) for name in _REFLECTIONS)


def credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Of the files that the settings name. Raises SettingsInvalid."""
    cert, key, ca = settings.grpc_tls_cert, settings.grpc_tls_key, settings.grpc_tls_ca
    if cert is None and key is None and ca is None:
        return None
    if cert is None or key is None:
        raise SettingsInvalid("TLS needs both LANEWORK_GRPC_TLS_CERT and LANEWORK_GRPC_TLS_KEY")
    try:
        pair = (key.read_bytes(), cert.read_bytes())
        roots = None if ca is None else ca.read_bytes()
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca).load_cert_chain(cert, key)  # or it says why
    except ssl.SSLError as error:
        raise SettingsInvalid(f"{cert} and {key} are no certificate and its key: {error.reason or error}") from None
    except OSError as error:
        raise SettingsInvalid(f"{error.filename}: {error.strerror}") from None
    return grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
