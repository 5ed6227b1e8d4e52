"""Reading queries: which jobs a request is about, and clear errors for what names none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, cast

from starlette.requests import Request

from runtime.client.lists import LIST_FIELDS, JobQuery
from runtime.gateway.problems import BadRequest
from runtime.gateway.requests import refuse_unknown
from runtime.jobs import tags
from runtime.jobs.job import STATUSES, Status
from runtime.values import durations, ids

_SMALL = re.compile(r"[0-9]{1,6}")
_LISTED = ("limit", "cursor", "type", "status", "lane", "tag", "parent", "after", "before", "error")
_PAYLOAD = "payload."  # before the path of a field of the payload
_UNSETTLED: tuple[Status, ...] = ("scheduled", "pending", "running")


def read_filter(request: Request) -> dict[str, str]:
    """Which failed jobs are meant. Raises BadRequest: 422."""
    refuse_unknown(request, {"error", "after", "before", "limit"})
    return dict(request.query_params)


def read_waiting_status(request: Request) -> Literal["pending", "scheduled"]:
    """`status`: of jobs that wait. Raises BadRequest: 422."""
    query = request.query_params
    if set(query) == {"status"}:
        if query["status"] == "pending":
            return "pending"
        if query["status"] == "scheduled":
            return "scheduled"
    hint = "say which jobs: ?status=pending (those that wait), or ?status=scheduled (for their time, retries too)"
    raise BadRequest(422, "query-invalid", f"{hint}; failed ones are in /functions/{{function}}/dead")


def read_tree(request: Request) -> bool:
    """Whether what the job has started is meant too. Raises BadRequest: 422."""
    refuse_unknown(request, {"tree"})
    return _flag(request, "tree")


def read_window(request: Request) -> tuple[int, int]:
    """`limit`, and how many come before (`cursor`). Raises BadRequest: 422."""
    query = request.query_params
    limit, cursor = query.get("limit", "50"), query.get("cursor") or "0"
    if set(query) - {"limit", "cursor"} or not _SMALL.fullmatch(limit) or not 1 <= int(limit) <= 500:
        raise BadRequest(422, "query-invalid", "limit is a number from 1 to 500, cursor what the page before gave")
    if not _SMALL.fullmatch(cursor):
        raise BadRequest(422, "query-invalid", "cursor is what the page before gave as `cursor`")
    return int(limit), int(cursor)


def read_query(request: Request, lanes: Sequence[str]) -> JobQuery:
    """The parameters of a list of jobs. Raises BadRequest: 422."""
    query = request.query_params
    searched = {name: value for name, value in query.items() if name.startswith(_PAYLOAD)}
    refuse_unknown(request, {*_LISTED, "fields", *searched})
    limit = query.get("limit", "50")
    if not _SMALL.fullmatch(limit) or not 1 <= int(limit) <= 500:
        raise BadRequest(422, "query-invalid", "limit is a number from 1 to 500")
    if query.get("status", "completed") not in STATUSES:
        raise BadRequest(422, "query-invalid", f"status is one of {', '.join(STATUSES)}")
    if "lane" in query and query["lane"] not in lanes:
        raise BadRequest(422, "query-invalid", f"lane is one of {', '.join(lanes)}")
    if "parent" in query and not ids.is_id(query["parent"]):
        raise BadRequest(422, "query-invalid", "parent is a job's id")
    if "tag" in query and "parent" in query:
        raise BadRequest(422, "query-invalid", "give tag or parent, not both")
    read: dict[str, Any] = {name: query[name] or None for name in _LISTED if name in query}
    for name, parse in (("tag", tags.parse_one), ("after", moment), ("before", moment)):
        if name in query:
            try:
                read[name] = parse(query[name])
            except ValueError as error:
                raise BadRequest(422, "query-invalid", f"{name} {error}") from None
    if searched:
        read["payload"] = {name.removeprefix(_PAYLOAD): value for name, value in searched.items()}
    return cast("JobQuery", {**read, "limit": int(limit), "fields": _fields(query.get("fields", ""))})


def _fields(text: str) -> tuple[str, ...]:
    """Lists show neither payloads nor results unless they are asked for."""
    names = tuple(name for name in text.split(",") if name)
    if set(names) - set(LIST_FIELDS):
        raise BadRequest(
            422, "query-invalid", f"fields is some of {', '.join(LIST_FIELDS)}, with commas between them"
        )
    return names


def moment(text: str) -> int:
    """Unix ms. Raises ValueError."""
    return durations.unix_ms(int(text) if re.fullmatch("[0-9]{5,15}", text) else text)


class TagQuery(NamedTuple):
    """Which jobs of a tag are to be cancelled."""

    tag: str
    statuses: tuple[Status, ...]
    dry_run: bool


def read_tag_query(request: Request) -> TagQuery:
    """Raises BadRequest: 422."""
    refuse_unknown(request, {"tag", "status", "dry_run"})
    query = request.query_params
    if "tag" not in query:
        raise BadRequest(422, "query-invalid", "say which jobs: ?tag=order:o1")
    names = query.get("status", "scheduled,pending").split(",")
    statuses = tuple(status for status in _UNSETTLED if status in names)
    if not statuses or set(names) - set(statuses):
        raise BadRequest(422, "query-invalid", f"status is some of {','.join(_UNSETTLED)}")
    return TagQuery(_tag(query["tag"]), statuses, _flag(request, "dry_run"))


def _tag(text: str) -> str:
    try:
        return tags.parse_one(text)
    except ValueError as error:
        raise BadRequest(422, "query-invalid", f"tag {error}") from None


def _flag(request: Request, name: str) -> bool:
    text = request.query_params.get(name, "0")
    if text not in ("0", "1", "true", "false"):
        raise BadRequest(422, "query-invalid", f"{name} is 1 or 0")
    return text in ("1", "true")
