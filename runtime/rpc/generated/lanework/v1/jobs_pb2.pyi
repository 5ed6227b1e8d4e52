from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATUS_UNSPECIFIED: _ClassVar[JobStatus]
    JOB_STATUS_PENDING: _ClassVar[JobStatus]
    JOB_STATUS_RUNNING: _ClassVar[JobStatus]
    JOB_STATUS_COMPLETED: _ClassVar[JobStatus]
    JOB_STATUS_FAILED: _ClassVar[JobStatus]
    JOB_STATUS_SCHEDULED: _ClassVar[JobStatus]
    JOB_STATUS_CANCELLED: _ClassVar[JobStatus]

class Encoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENCODING_UNSPECIFIED: _ClassVar[Encoding]
    ENCODING_JSON: _ClassVar[Encoding]
    ENCODING_BYTES: _ClassVar[Encoding]
JOB_STATUS_UNSPECIFIED: JobStatus
JOB_STATUS_PENDING: JobStatus
JOB_STATUS_RUNNING: JobStatus
JOB_STATUS_COMPLETED: JobStatus
JOB_STATUS_FAILED: JobStatus
JOB_STATUS_SCHEDULED: JobStatus
JOB_STATUS_CANCELLED: JobStatus
ENCODING_UNSPECIFIED: Encoding
ENCODING_JSON: Encoding
ENCODING_BYTES: Encoding

class Job(_message.Message):
    __slots__ = ("id", "type", "payload", "status", "execution_time_ms", "created_at", "updated_at", "payload_encoding", "lane", "attempt", "max_attempts", "result", "result_encoding", "error", "progress", "started_at", "finished_at", "tags", "parent", "archived")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_ENCODING_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    RESULT_ENCODING_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ARCHIVED_FIELD_NUMBER: _ClassVar[int]
    id: str
    type: str
    payload: bytes
    status: JobStatus
    execution_time_ms: int
    created_at: int
    updated_at: int
    payload_encoding: Encoding
    lane: str
    attempt: int
    max_attempts: int
    result: bytes
    result_encoding: Encoding
    error: JobError
    progress: Progress
    started_at: int
    finished_at: int
    tags: _containers.ScalarMap[str, str]
    parent: str
    archived: bool
    def __init__(self, id: _Optional[str] = ..., type: _Optional[str] = ..., payload: _Optional[bytes] = ..., status: _Optional[_Union[JobStatus, str]] = ..., execution_time_ms: _Optional[int] = ..., created_at: _Optional[int] = ..., updated_at: _Optional[int] = ..., payload_encoding: _Optional[_Union[Encoding, str]] = ..., lane: _Optional[str] = ..., attempt: _Optional[int] = ..., max_attempts: _Optional[int] = ..., result: _Optional[bytes] = ..., result_encoding: _Optional[_Union[Encoding, str]] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., started_at: _Optional[int] = ..., finished_at: _Optional[int] = ..., tags: _Optional[_Mapping[str, str]] = ..., parent: _Optional[str] = ..., archived: _Optional[bool] = ...) -> None: ...

class JobError(_message.Message):
    __slots__ = ("type", "message", "traceback")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    type: str
    message: str
    traceback: str
    def __init__(self, type: _Optional[str] = ..., message: _Optional[str] = ..., traceback: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("done", "total", "note")
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    done: float
    total: float
    note: str
    def __init__(self, done: _Optional[float] = ..., total: _Optional[float] = ..., note: _Optional[str] = ...) -> None: ...

class EnqueueJobRequest(_message.Message):
    __slots__ = ("type", "payload", "execution_time_ms", "payload_encoding", "lane", "delay_ms", "max_attempts", "idempotency_key", "ttl_ms", "unique", "tags", "callback_url", "options")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_ENCODING_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    CALLBACK_URL_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    type: str
    payload: bytes
    execution_time_ms: int
    payload_encoding: Encoding
    lane: str
    delay_ms: int
    max_attempts: int
    idempotency_key: str
    ttl_ms: int
    unique: str
    tags: _containers.ScalarMap[str, str]
    callback_url: str
    options: str
    def __init__(self, type: _Optional[str] = ..., payload: _Optional[bytes] = ..., execution_time_ms: _Optional[int] = ..., payload_encoding: _Optional[_Union[Encoding, str]] = ..., lane: _Optional[str] = ..., delay_ms: _Optional[int] = ..., max_attempts: _Optional[int] = ..., idempotency_key: _Optional[str] = ..., ttl_ms: _Optional[int] = ..., unique: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., callback_url: _Optional[str] = ..., options: _Optional[str] = ...) -> None: ...

class EnqueueJobResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: Job
    created: bool
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class EnqueueJobsRequest(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[EnqueueJobRequest]
    def __init__(self, jobs: _Optional[_Iterable[_Union[EnqueueJobRequest, _Mapping]]] = ...) -> None: ...

class EnqueueJobsResponse(_message.Message):
    __slots__ = ("stored", "refused", "results")
    STORED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    stored: int
    refused: int
    results: _containers.RepeatedCompositeFieldContainer[EnqueuedJob]
    def __init__(self, stored: _Optional[int] = ..., refused: _Optional[int] = ..., results: _Optional[_Iterable[_Union[EnqueuedJob, _Mapping]]] = ...) -> None: ...

class EnqueuedJob(_message.Message):
    __slots__ = ("id", "created", "refusal")
    ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    id: str
    created: bool
    refusal: Refusal
    def __init__(self, id: _Optional[str] = ..., created: _Optional[bool] = ..., refusal: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code", "reason", "message", "fields")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    fields: _containers.RepeatedCompositeFieldContainer[FieldError]
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[FieldError, _Mapping]]] = ...) -> None: ...

class FieldError(_message.Message):
    __slots__ = ("field", "message")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    field: str
    message: str
    def __init__(self, field: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "type", "status", "lane", "tag", "parent", "created_after", "created_before", "payload", "error", "full")
    class PayloadEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    CREATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FULL_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    type: str
    status: JobStatus
    lane: str
    tag: str
    parent: str
    created_after: int
    created_before: int
    payload: _containers.ScalarMap[str, str]
    error: str
    full: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., type: _Optional[str] = ..., status: _Optional[_Union[JobStatus, str]] = ..., lane: _Optional[str] = ..., tag: _Optional[str] = ..., parent: _Optional[str] = ..., created_after: _Optional[int] = ..., created_before: _Optional[int] = ..., payload: _Optional[_Mapping[str, str]] = ..., error: _Optional[str] = ..., full: _Optional[bool] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token", "partial")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    partial: bool
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., partial: _Optional[bool] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("id", "after")
    ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    id: str
    after: str
    def __init__(self, id: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class WatchJobResponse(_message.Message):
    __slots__ = ("position", "status", "progress", "output", "log", "settled", "gap")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    position: str
    status: StatusChange
    progress: Progress
    output: OutputChunk
    log: LogLine
    settled: Job
    gap: Gap
    def __init__(self, position: _Optional[str] = ..., status: _Optional[_Union[StatusChange, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., output: _Optional[_Union[OutputChunk, _Mapping]] = ..., log: _Optional[_Union[LogLine, _Mapping]] = ..., settled: _Optional[_Union[Job, _Mapping]] = ..., gap: _Optional[_Union[Gap, _Mapping]] = ...) -> None: ...

class StatusChange(_message.Message):
    __slots__ = ("status", "attempt")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    status: JobStatus
    attempt: int
    def __init__(self, status: _Optional[_Union[JobStatus, str]] = ..., attempt: _Optional[int] = ...) -> None: ...

class OutputChunk(_message.Message):
    __slots__ = ("attempt", "number", "value", "encoding")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    number: int
    value: bytes
    encoding: Encoding
    def __init__(self, attempt: _Optional[int] = ..., number: _Optional[int] = ..., value: _Optional[bytes] = ..., encoding: _Optional[_Union[Encoding, str]] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("attempt", "number", "at", "level", "event", "fields")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    number: int
    at: int
    level: str
    event: str
    fields: str
    def __init__(self, attempt: _Optional[int] = ..., number: _Optional[int] = ..., at: _Optional[int] = ..., level: _Optional[str] = ..., event: _Optional[str] = ..., fields: _Optional[str] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("of", "missed")
    OF_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    of: str
    missed: int
    def __init__(self, of: _Optional[str] = ..., missed: _Optional[int] = ...) -> None: ...

class PauseFunctionRequest(_message.Message):
    __slots__ = ("function",)
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    function: str
    def __init__(self, function: _Optional[str] = ...) -> None: ...

class PauseFunctionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResumeFunctionRequest(_message.Message):
    __slots__ = ("function",)
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    function: str
    def __init__(self, function: _Optional[str] = ...) -> None: ...

class ResumeFunctionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("functions", "scheduled_partial")
    FUNCTIONS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    functions: _containers.RepeatedCompositeFieldContainer[FunctionStats]
    scheduled_partial: bool
    def __init__(self, functions: _Optional[_Iterable[_Union[FunctionStats, _Mapping]]] = ..., scheduled_partial: _Optional[bool] = ...) -> None: ...

class FunctionStats(_message.Message):
    __slots__ = ("function", "whole", "lanes", "dead")
    class LanesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Figures
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Figures, _Mapping]] = ...) -> None: ...
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    DEAD_FIELD_NUMBER: _ClassVar[int]
    function: str
    whole: Figures
    lanes: _containers.MessageMap[str, Figures]
    dead: int
    def __init__(self, function: _Optional[str] = ..., whole: _Optional[_Union[Figures, _Mapping]] = ..., lanes: _Optional[_Mapping[str, Figures]] = ..., dead: _Optional[int] = ...) -> None: ...

class Figures(_message.Message):
    __slots__ = ("waiting", "running", "scheduled", "oldest_ms", "stored", "completed", "failed")
    WAITING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    SCHEDULED_FIELD_NUMBER: _ClassVar[int]
    OLDEST_MS_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    waiting: int
    running: int
    scheduled: int
    oldest_ms: int
    stored: Rate
    completed: Rate
    failed: Rate
    def __init__(self, waiting: _Optional[int] = ..., running: _Optional[int] = ..., scheduled: _Optional[int] = ..., oldest_ms: _Optional[int] = ..., stored: _Optional[_Union[Rate, _Mapping]] = ..., completed: _Optional[_Union[Rate, _Mapping]] = ..., failed: _Optional[_Union[Rate, _Mapping]] = ...) -> None: ...

class Rate(_message.Message):
    __slots__ = ("last_minute", "last_5_minutes", "last_60_minutes")
    LAST_MINUTE_FIELD_NUMBER: _ClassVar[int]
    LAST_5_MINUTES_FIELD_NUMBER: _ClassVar[int]
    LAST_60_MINUTES_FIELD_NUMBER: _ClassVar[int]
    last_minute: float
    last_5_minutes: float
    last_60_minutes: float
    def __init__(self, last_minute: _Optional[float] = ..., last_5_minutes: _Optional[float] = ..., last_60_minutes: _Optional[float] = ...) -> None: ...
