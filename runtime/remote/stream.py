"""The stream to a gateway, on threads: a handler that holds up the event loop does not cost the worker its life."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from runtime.rpc.generated.lanework.v1 import worker_pb2 as pb

_METHOD = "/lanework.v1.WorkerService/Work"
_RENEW_AT_FIRST = 0.1  # seconds, until the welcome says how long the worker may be silent


class Stream:
    """From the hello to the end."""

    def __init__(
        self,
        channel: grpc.Channel,
        hello: pb.Hello,
        key: str,
        receive: Callable[[pb.WorkResponse], None],
        ended: Callable[[grpc.StatusCode, str], None],
    ) -> None:
        """Both are called on a thread of its own: `receive` with each message, `ended` with how it ended."""
        self._renew_every = _RENEW_AT_FIRST
        self._receive = receive
        self._ended = ended
        self._is_over = False
        self._requests: queue.SimpleQueue[pb.WorkRequest | None] = queue.SimpleQueue()
        self.send(pb.WorkRequest(hello=hello))
        call: Any = channel.stream_stream(
            _METHOD,
            request_serializer=pb.WorkRequest.SerializeToString,
            response_deserializer=pb.WorkResponse.FromString,
        )
        metadata = (("authorization", f"Bearer {key}"),) if key else ()
        self._call = call(self._each(), metadata=metadata)
        threading.Thread(target=self._read, name="stream", daemon=True).start()

    def send(self, request: pb.WorkRequest) -> None:
        """From any thread; nothing once it is over."""
        self._requests.put(request)

    def cancel(self) -> None:
        self._call.cancel()

    def _each(self) -> Iterator[pb.WorkRequest]:
        while not self._is_over:
            try:
                request = self._requests.get(timeout=self._renew_every)
            except queue.Empty:
                request = pb.WorkRequest(renew=pb.Renew())
            if request is None:
                return
            yield request

    def _read(self) -> None:
        code, details = grpc.StatusCode.OK, ""
        try:
            for response in self._call:
                if response.WhichOneof("message") == "welcome":
                    self._renew_every = response.welcome.lease_ms / 4000
                self._receive(response)
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
        self._is_over = True
        self._requests.put(None)
        self._ended(code, details)
