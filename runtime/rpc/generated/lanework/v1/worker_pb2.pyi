from runtime.rpc.generated.lanework.v1 import jobs_pb2 as _jobs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CancelReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CANCEL_REASON_UNSPECIFIED: _ClassVar[CancelReason]
    CANCEL_REASON_CANCELLED: _ClassVar[CancelReason]
    CANCEL_REASON_TIMEOUT: _ClassVar[CancelReason]
    CANCEL_REASON_LOST: _ClassVar[CancelReason]
    CANCEL_REASON_RELEASED: _ClassVar[CancelReason]
CANCEL_REASON_UNSPECIFIED: CancelReason
CANCEL_REASON_CANCELLED: CancelReason
CANCEL_REASON_TIMEOUT: CancelReason
CANCEL_REASON_LOST: CancelReason
CANCEL_REASON_RELEASED: CancelReason

class WorkRequest(_message.Message):
    __slots__ = ("job_id", "attempt", "hello", "renew", "progress", "output", "line", "completed", "failed", "stopped", "leave", "start", "publish")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    RENEW_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    STOPPED_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    attempt: int
    hello: Hello
    renew: Renew
    progress: _jobs_pb2.Progress
    output: Output
    line: Line
    completed: Completed
    failed: Failed
    stopped: Stopped
    leave: Leave
    start: Start
    publish: Publish
    def __init__(self, job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., renew: _Optional[_Union[Renew, _Mapping]] = ..., progress: _Optional[_Union[_jobs_pb2.Progress, _Mapping]] = ..., output: _Optional[_Union[Output, _Mapping]] = ..., line: _Optional[_Union[Line, _Mapping]] = ..., completed: _Optional[_Union[Completed, _Mapping]] = ..., failed: _Optional[_Union[Failed, _Mapping]] = ..., stopped: _Optional[_Union[Stopped, _Mapping]] = ..., leave: _Optional[_Union[Leave, _Mapping]] = ..., start: _Optional[_Union[Start, _Mapping]] = ..., publish: _Optional[_Union[Publish, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("name", "slots", "functions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    slots: int
    functions: _containers.RepeatedCompositeFieldContainer[RemoteFunction]
    def __init__(self, name: _Optional[str] = ..., slots: _Optional[int] = ..., functions: _Optional[_Iterable[_Union[RemoteFunction, _Mapping]]] = ...) -> None: ...

class RemoteFunction(_message.Message):
    __slots__ = ("name", "doc", "schema", "returns", "options", "version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DOC_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    RETURNS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    doc: str
    schema: str
    returns: str
    options: str
    version: str
    def __init__(self, name: _Optional[str] = ..., doc: _Optional[str] = ..., schema: _Optional[str] = ..., returns: _Optional[str] = ..., options: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class Renew(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Output(_message.Message):
    __slots__ = ("value", "encoding")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    value: bytes
    encoding: _jobs_pb2.Encoding
    def __init__(self, value: _Optional[bytes] = ..., encoding: _Optional[_Union[_jobs_pb2.Encoding, str]] = ...) -> None: ...

class Line(_message.Message):
    __slots__ = ("level", "event", "fields")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    level: str
    event: str
    fields: str
    def __init__(self, level: _Optional[str] = ..., event: _Optional[str] = ..., fields: _Optional[str] = ...) -> None: ...

class Start(_message.Message):
    __slots__ = ("number", "job", "when_all_settled")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    WHEN_ALL_SETTLED_FIELD_NUMBER: _ClassVar[int]
    number: int
    job: _jobs_pb2.EnqueueJobRequest
    when_all_settled: bool
    def __init__(self, number: _Optional[int] = ..., job: _Optional[_Union[_jobs_pb2.EnqueueJobRequest, _Mapping]] = ..., when_all_settled: _Optional[bool] = ...) -> None: ...

class Publish(_message.Message):
    __slots__ = ("number", "type", "data", "data_encoding", "source", "subject", "extensions")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DATA_ENCODING_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    EXTENSIONS_FIELD_NUMBER: _ClassVar[int]
    number: int
    type: str
    data: bytes
    data_encoding: _jobs_pb2.Encoding
    source: str
    subject: str
    extensions: str
    def __init__(self, number: _Optional[int] = ..., type: _Optional[str] = ..., data: _Optional[bytes] = ..., data_encoding: _Optional[_Union[_jobs_pb2.Encoding, str]] = ..., source: _Optional[str] = ..., subject: _Optional[str] = ..., extensions: _Optional[str] = ...) -> None: ...

class Completed(_message.Message):
    __slots__ = ("result", "result_encoding")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    RESULT_ENCODING_FIELD_NUMBER: _ClassVar[int]
    result: bytes
    result_encoding: _jobs_pb2.Encoding
    def __init__(self, result: _Optional[bytes] = ..., result_encoding: _Optional[_Union[_jobs_pb2.Encoding, str]] = ...) -> None: ...

class Failed(_message.Message):
    __slots__ = ("type", "message", "traceback", "permanent", "retry_after_ms")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    PERMANENT_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    traceback: str
    permanent: bool
    retry_after_ms: int
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ..., permanent: _Optional[bool] = ..., retry_after_ms: _Optional[int] = ...) -> None: ...

class Stopped(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Leave(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WorkResponse(_message.Message):
    __slots__ = ("welcome", "attempt", "cancel", "leaving")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    attempt: Attempt
    cancel: Cancel
    leaving: Leaving
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., attempt: _Optional[_Union[Attempt, _Mapping]] = ..., cancel: _Optional[_Union[Cancel, _Mapping]] = ..., leaving: _Optional[_Union[Leaving, _Mapping]] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("worker_id", "lease_ms", "result_limit")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_MS_FIELD_NUMBER: _ClassVar[int]
    RESULT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    worker_id: str
    lease_ms: int
    result_limit: int
    def __init__(self, worker_id: _Optional[str] = ..., lease_ms: _Optional[int] = ..., result_limit: _Optional[int] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("job_id", "attempt", "type", "payload", "payload_encoding", "lane", "max_attempts", "tries", "created_at", "timeout_ms", "trace", "event", "scheduled_for", "start_id")
    class TraceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_ENCODING_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    TRIES_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FOR_FIELD_NUMBER: _ClassVar[int]
    START_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    attempt: int
    type: str
    payload: bytes
    payload_encoding: _jobs_pb2.Encoding
    lane: str
    max_attempts: int
    tries: int
    created_at: int
    timeout_ms: int
    trace: _containers.ScalarMap[str, str]
    event: str
    scheduled_for: int
    start_id: str
    def __init__(self, job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., type: _Optional[str] = ..., payload: _Optional[bytes] = ..., payload_encoding: _Optional[_Union[_jobs_pb2.Encoding, str]] = ..., lane: _Optional[str] = ..., max_attempts: _Optional[int] = ..., tries: _Optional[int] = ..., created_at: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., trace: _Optional[_Mapping[str, str]] = ..., event: _Optional[str] = ..., scheduled_for: _Optional[int] = ..., start_id: _Optional[str] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("job_id", "attempt", "reason")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    attempt: int
    reason: CancelReason
    def __init__(self, job_id: _Optional[str] = ..., attempt: _Optional[int] = ..., reason: _Optional[_Union[CancelReason, str]] = ...) -> None: ...

class Leaving(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
