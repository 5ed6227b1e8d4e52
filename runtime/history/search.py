"""Which jobs of history a list has, as SQL of either database."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, and_, cast, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB

from runtime.history.rows import MAX_TEXT, clean, has_text
from runtime.history.tables import jobs
from runtime.jobs.job import Job

_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?")  # of JSON, of a usual length
_MAX_INTEGER = 2**63 - 1  # of SQLite


@dataclass(frozen=True, slots=True)
class Search:
    """`after`, `before`: when jobs were made, in Unix ms. `tag`: its name and value. `payload`: values of fields of
    the payload, by path, as text. `error`: a part of the error's type or message. `below`: when the job that comes
    before was made, in Unix ms, and its id."""

    type: str | None = None
    status: str | None = None
    lane: str | None = None
    after: int | None = None
    before: int | None = None
    tag: tuple[str, str] | None = None
    parent: str | None = None
    payload: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    below: tuple[int, str] | None = None


def has_long_texts(search: Search, job: Job) -> bool:
    """Whether a job that was found has the searched texts of which the index may have the beginning alone."""
    long = {path: text for path, text in search.payload.items() if len(text) >= MAX_TEXT}
    return all(has_text(job.payload, path, text) for path, text in long.items())


def statement(search: Search, dialect: str, limit: int) -> Select[tuple[int, str, bytes]]:
    """When each job was made, its id, and the whole; the newest first."""
    has = _has_json if dialect == "sqlite" else _has_jsonb
    c = jobs.c
    conditions: list[ColumnElement[bool]] = []
    for column, value in ((c.type, search.type), (c.status, search.status), (c.lane, search.lane)):
        if value is not None:
            conditions.append(column == clean(value))
    if search.after is not None:
        conditions.append(c.created_at >= search.after)
    if search.before is not None:
        conditions.append(c.created_at <= search.before)
    if search.parent is not None:
        conditions.append(c.parent == search.parent)
    if search.tag is not None:
        conditions.append(has(c.tags, search.tag[0], [clean(search.tag[1])]))
    conditions += [
        has(c.fields, clean(path), _meant(clean(value[:MAX_TEXT]))) for path, value in search.payload.items()
    ]
    if search.error is not None:
        conditions.append(c.error.icontains(clean(search.error), autoescape=True))
    if search.below is not None:
        conditions.append(tuple_(c.created_at, c.id) < search.below)
    found = select(c.created_at, c.id, c.job).where(and_(True, *conditions))
    return found.order_by(c.created_at.desc(), c.id.desc()).limit(limit)


def _meant(text: str) -> list[Any]:
    """What text in a query may stand for: itself, or the number or boolean that it is in JSON."""
    if text in ("true", "false"):
        return [text, text == "true"]
    if not _NUMBER.fullmatch(text):
        return [text]
    value = json.loads(text)
    return [text, value] if math.isfinite(value) else [text]


def _has_jsonb(column: Column[Any], name: str, values: Sequence[Any]) -> ColumnElement[bool]:
    return or_(*(cast(column, JSONB).contains({name: value}) for value in values))


def _has_json(column: Column[Any], name: str, values: Sequence[Any]) -> ColumnElement[bool]:
    """SQLite's paths cannot quote every name, so the object is looked through."""
    each = func.json_each(column).table_valued("key", "value", "type").alias("each")
    equal = [and_(each.c.type.in_(_TYPES[type(value)]), each.c.value == _in_sqlite(value)) for value in values]
    return select(1).select_from(each).where(each.c.key == name, or_(*equal)).exists()


def _in_sqlite(value: Any) -> Any:
    """It makes a float of a large integer in JSON."""
    return float(value) if isinstance(value, int) and abs(value) > _MAX_INTEGER else value


_TYPES = {bool: ("true", "false"), int: ("integer", "real"), float: ("integer", "real"), str: ("text",)}
