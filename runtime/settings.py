"""Settings: one frozen object, read once from `LANEWORK_*` (and plain `REDIS_URL`), and passed in."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from runtime.errors import LaneUnknown, SettingsInvalid
from runtime.values import durations
from runtime.values.ids import MAX_SHARDS

PREFIX = "LANEWORK_"
_FOR_TESTS = PREFIX + "TEST_"
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
# 24 to 64 bytes in base64
_WEBHOOK_SECRET = re.compile(
    r"whsec_(([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
    r"|([A-Za-z0-9+/]{4}){21}([A-Za-z0-9+/]{2}==)?)"
)
# as browsers send it: in lower case, without a path and without the scheme's default port
_ORIGIN = re.compile(r"(http://(?!.*:80$)|https://(?!.*:443$))([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_LANE = re.compile(r"[a-z0-9_-]+")

Names = Annotated[tuple[str, ...], NoDecode]
Weights = Annotated[dict[str, int] | None, NoDecode]
Ages = Annotated[dict[str, float], NoDecode]  # seconds by function; * are all that are not named
_LEAST_AGE = 3600.0


class Settings(BaseSettings):
    """Every setting; `LANEWORK_` and the name in capitals is its environment variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", populate_by_name=True)

    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        validation_alias=AliasChoices(PREFIX + "REDIS_URL", "REDIS_URL"),
        description="Redis 7.0+ or Valkey 8+: redis://, rediss:// (TLS), unix://, redis+cluster:// or redis+sentinel://",
    )
    prefix: str = Field("lw", pattern=r"^[A-Za-z0-9_.-]+$", description="what every key in Redis begins with")
    shards: int = Field(1, ge=1, le=MAX_SHARDS, description="slices of the keyspace; the same in every process")
    lanes: Names = Field(("low", "normal", "high"), description="from lowest to highest, or a range: 1..10")
    lane_weights: Weights = Field(
        None, description="such as high=6,normal=3,low=1; none: a higher lane is always served first"
    )
    default_lane: str = Field("", description="the lane of a job that names none; normal, else the middle one")

    functions_dir: Path = Field(Path("functions"), description="where the function modules are")
    functions: Names = Field((), description="the only functions this worker runs; none named: all")
    files_dir: Path = Field(Path("files"), description="the one folder that ctx.file() opens to functions")

    concurrency: int = Field(
        100, ge=1, le=10_000, description="attempts at once on a worker's event loop and in threads"
    )
    processes: int = Field(
        default_factory=lambda: max(4, 2 * (os.cpu_count() or 1)),
        ge=1,
        le=1000,
        description="attempts at once in processes of their own",
    )
    recycle: int = Field(10_000, ge=1, description="attempts after which such a process is replaced")
    watch: bool = Field(True, description="follow changes of the functions folder; false for fixed images")
    lease: float = Field(8.0, ge=0.2, description="seconds without a renewal until an attempt counts as lost")
    crash_limit: int = Field(3, ge=1, description="lost attempts after which a job is failed as poison")
    grace: float = Field(25.0, ge=0, description="seconds for what runs to finish after SIGTERM")
    keep: float = Field(86_400.0, ge=1, description="seconds that a settled job and its result are kept")
    keep_failed: float = Field(
        604_800.0, ge=1, description="seconds that a failed job is kept for replay, at least"
    )
    dead_limit: int = Field(10_000, ge=1, description="how many failed jobs of a function are kept for replay")
    keep_keys: float = Field(86_400.0, ge=1, description="seconds that an idempotency key is remembered")
    cron_grace: float = Field(300.0, ge=0, description="seconds by which a missed tick of a schedule may come late")
    durable: bool = Field(False, description="answer 202 only once the append-only file is on the disk (WAITAOF)")
    durable_replicas: int = Field(
        0,
        ge=0,
        le=8,
        description="answer 202 only once so many replicas have the job; if durable, on their disks too",
    )
    output_limit: int = Field(
        1 << 20, ge=1024, description="bytes of what an attempt emits that are kept, the newest"
    )
    keep_log: bool = Field(True, description="keep the last 200 lines that a job logs with it")
    result_limit: int = Field(1 << 20, ge=1024, description="bytes of the largest result")

    history_url: SecretStr = Field(
        SecretStr(""),
        description="the database that keeps what has settled: sqlite:///path or postgresql://user@host/name",
    )
    history_wait: float = Field(
        86_400.0, ge=60, description="seconds that settled jobs wait at most in Redis until history has them"
    )

    history_keep: Ages = Field(
        {"*": 90 * 86_400.0}, description="how long history keeps jobs, such as 90d,webhook=7d by function"
    )

    outbox_url: SecretStr = Field(
        SecretStr(""), description="the database whose outbox `lanework outbox run` moves; as history_url"
    )

    host: str = Field("127.0.0.1", description="address that the gateway and the worker's port listen on")
    hosts: Names = Field(
        (), description="names that the gateway answers to; none: on loopback, those of loopback, else any"
    )
    cors: Names = Field(
        (), description="origins whose pages may use the API, such as https://shop.example; none unless set"
    )
    insecure: bool = Field(
        False, description="allow a gateway beyond loopback without access keys; something else must protect it"
    )
    require_keys: bool = Field(
        False, description="require access keys on loopback too, even before any exist; for use behind a proxy"
    )
    stream_limit: int = Field(1000, ge=1, description="streams that an access key may have open on a gateway")
    expect: Names = Field((), description="functions that a gateway must know to be ready; none named: any")
    port: int = Field(8080, ge=0, le=65_535, description="the gateway's port; 0 picks a free one")
    grpc_port: int | None = Field(
        None, ge=0, le=65_535, description="the gateway's port for gRPC; 0 picks a free one; none unless set"
    )
    grpc_tls_cert: Path | None = Field(None, description="the certificate chain of the gRPC port, a PEM file")
    grpc_tls_key: Path | None = Field(None, description="its private key, a PEM file")
    grpc_tls_ca: Path | None = Field(None, description="whose certificates clients must show; none: no client's")
    worker_port: int = Field(
        9100, ge=0, le=65_535, description="port of a worker's /metrics and /healthz; 0 picks one"
    )
    body_limit: int = Field(1 << 20, ge=1024, description="bytes of the largest request body and payload")
    batch_limit: int = Field(32 << 20, ge=1024, description="bytes of the largest array of jobs in one request")
    url: str = Field("http://127.0.0.1:8080", description="the gateway that the command line talks to")
    webhook_secret: SecretStr = Field(
        SecretStr(""), description="what callbacks are signed with: whsec_ and base64; none: one that Redis keeps"
    )
    allow_private: bool = Field(False, description="let callbacks and webhook send to private addresses too")
    key: SecretStr = Field(SecretStr(""), description="the access key that the command line sends to the gateway")

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug logs every attempt")
    log_format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal")

    @field_validator("grpc_port", "grpc_tls_cert", "grpc_tls_key", "grpc_tls_ca", mode="before")
    @classmethod
    def _none_for_nothing(cls, value: Any) -> Any:
        """Compose and `up` pass an empty variable on where nothing is set."""
        return None if value == "" else value

    @field_validator("lanes", "functions", "hosts", "cors", "expect", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if span := _RANGE.fullmatch(value.strip()):
            return tuple(str(n) for n in range(int(span[1]), int(span[2]) + 1))
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @field_validator("lanes")
    @classmethod
    def _lanes(cls, lanes: tuple[str, ...]) -> tuple[str, ...]:
        if not 1 <= len(lanes) <= 100 or len(set(lanes)) != len(lanes):
            raise ValueError("name 1 to 100 lanes, each once, from lowest to highest")
        if bad := [lane for lane in lanes if not _LANE.fullmatch(lane)]:
            raise ValueError(f"a lane's name has a-z, 0-9, - and _ only: {', '.join(bad)}")
        return lanes

    @field_validator("cors")
    @classmethod
    def _cors(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if bad := [origin for origin in origins if origin != "*" and not _ORIGIN.fullmatch(origin)]:
            raise ValueError(f"an origin is a scheme and a host, such as https://shop.example, not {bad[0]!r}")
        return origins

    @field_validator("webhook_secret")
    @classmethod
    def _webhook_secret(cls, secret: SecretStr) -> SecretStr:
        text = secret.get_secret_value()
        if text and not _WEBHOOK_SECRET.fullmatch(text):
            raise ValueError("webhook_secret is whsec_ and the base64 of 24 to 64 bytes (Standard Webhooks)")
        return secret

    @field_validator("lane_weights", mode="before")
    @classmethod
    def _weights(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.partition("=") for part in value.split(",") if part.strip()]
        if not all(weight.strip().isdecimal() and int(weight) > 0 for _, _, weight in pairs):
            raise ValueError("give each lane a weight from 1 on, such as high=6,normal=3,low=1")
        return {lane.strip(): int(weight) for lane, _, weight in pairs} or None

    @field_validator("history_keep", mode="before")
    @classmethod
    def _ages(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().rpartition("=") for part in value.split(",") if part.strip()]
        ages = {name.strip() or "*": durations.seconds(age.strip()) for name, _, age in pairs}
        if len(ages) < len(pairs) or any(age < _LEAST_AGE for age in ages.values()):
            raise ValueError("give each function once, and at least an hour, such as 90d,webhook=7d")
        return ages

    @model_validator(mode="after")
    def _each_lane_has_a_weight(self) -> Settings:
        if self.lane_weights is not None and set(self.lane_weights) != set(self.lanes):
            raise ValueError(f"lane_weights names each lane once: {', '.join(self.lanes)}")
        return self

    @model_validator(mode="after")
    def _default_lane(self) -> Settings:
        lanes = self.lanes
        chosen = self.default_lane or ("normal" if "normal" in lanes else lanes[(len(lanes) - 1) // 2])
        if chosen not in lanes:
            raise ValueError(f"default_lane is one of {', '.join(lanes)}, not {chosen}")
        object.__setattr__(self, "default_lane", chosen)
        return self

    @property
    def descending_lanes(self) -> tuple[str, ...]:
        """Lanes in the order in which work is taken: the highest first."""
        return self.lanes[::-1]

    def lane(self, priority: str | int | None) -> str:
        """The lane that a `priority` means: a lane's name, its number from 0 for the lowest, or the default.

        A lane's own name comes first. `low`, `normal` and `high` are always understood: the lowest, the default and
        the highest lane. If the lanes are numbers themselves (`1..10`), a number is but a name. Raises LaneUnknown.
        """
        if priority is None:
            return self.default_lane
        name = str(priority)
        if name in self.lanes:
            return name
        numbers = {str(n): lane for n, lane in enumerate(self.lanes)} if not self.lanes[0].isdecimal() else {}
        if name in numbers:
            return numbers[name]
        for alias, lane in (("low", self.lanes[0]), ("normal", self.default_lane), ("high", self.lanes[-1])):
            if name == alias:
                return lane
        numbered = ", ".join(f"{n} ({i})" if n != str(i) else n for i, n in enumerate(self.lanes))
        alias = ", ".join(self.lanes) if self.lanes[0].isdecimal() else numbered
        raise LaneUnknown(f"no lane is {name[:50]!r}; lanes from lowest to highest: {alias}")


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Reads the settings from the environment; `overrides` that are not None take precedence.

    `environ`: checked for misspelt names alone; the values always come from `os.environ`.

    Raises SettingsInvalid with what to do.
    """
    environ = os.environ if environ is None else environ
    _refuse_misspelt(environ)
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'settings'}: {_reason(e['msg'])}" for e in error.errors()
        )
        raise SettingsInvalid(f"{problems} (`lanework settings` lists them all)") from None


def _refuse_misspelt(environ: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in environ:
        if name.startswith(PREFIX) and not name.startswith(_FOR_TESTS) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "`lanework settings` lists them all"
            raise SettingsInvalid(f"{name} is not a setting; {hint}")


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")
