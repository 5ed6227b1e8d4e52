"""Lists of jobs: from Redis, and behind it from history, behind one cursor."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from runtime.client.deadline import within
from runtime.errors import HistoryMissing, HistoryUnavailable
from runtime.jobs import tags
from runtime.jobs.job import SETTLED, Job
from runtime.store.pages import Page, Wanted
from runtime.store.store import Store
from runtime.values import durations, ids

if TYPE_CHECKING:
    from runtime.history.history import History
    from runtime.history.search import Search

LIST_FIELDS = ("payload", "result")  # which a list may leave out
_OF_HISTORY = "history"  # what a cursor begins with
_CURSOR = re.compile(_OF_HISTORY + r"-((?:[0-9]{1,15}|x)?(?:\.(?:[0-9]{1,15}|x))*)(?:-([0-9]{1,15}-.{36}))?")


class JobQuery(TypedDict, total=False):
    """Which jobs a list has.

    `type`, `status`, `lane`: those of that one. `tag`: those that have it, as `name:value`. `parent`: those
    that it has started. `after`, `before`: those made then, as Unix ms, RFC 3339 or a datetime. `payload`: those
    whose payload has these values, by path, such as {"customer.email": "ann@example.com"}; `error`: those whose
    error's type or message contains it: both are for what has settled, and need a history. `visible`: of
    which types. `fields`: which of payload and result are shown, both where nothing is said. `limit`, 50 where
    nothing is said, and `cursor`: how many, and behind which.
    """

    limit: int
    cursor: str | None
    type: str | None
    status: str | None
    lane: str | None
    tag: str | None
    parent: str | None
    after: int | str | datetime | None
    before: int | str | datetime | None
    payload: Mapping[str, str]
    error: str | None
    visible: Callable[[str], bool] | None
    fields: Collection[str]


class _Cursor(NamedTuple):
    """Where a list goes on in history. `reached`: down to when Redis' part of the list went, by shard, in Unix ms.
    `place`: behind which job, as history names it."""

    reached: tuple[int | None, ...] = ()
    place: str | None = None

    @classmethod
    def parse(cls, text: str) -> _Cursor:
        """Raises ValueError."""
        found = _CURSOR.fullmatch(text)
        if found is None:
            raise ValueError("not a cursor of this list")
        return cls(tuple(None if ms == "x" else int(ms) for ms in found[1].split(".") if ms), found[2])

    def __str__(self) -> str:
        reached = ".".join("x" if ms is None else str(ms) for ms in self.reached)
        return f"{_OF_HISTORY}-{reached}" + (f"-{self.place}" if self.place else "")


class _Forgotten:
    """What Redis' lists need of history. `is_away`: it does not answer, and what it has is left out."""

    def __init__(self, history: History, left_out: Collection[str]) -> None:
        self.is_away = False
        self._history = history
        self._left_out = left_out

    async def looks(self, job_ids: Sequence[str]) -> Mapping[str, Job]:
        try:
            return {} if self.is_away else await self._history.looks(job_ids)
        except HistoryUnavailable:
            self.is_away = True
            return {}

    async def whole(self, job_ids: Sequence[str], byte_limit: int) -> Mapping[str, Job]:
        return await self._history.first(job_ids, byte_limit, self._left_out)


class Lists:
    """The lists of one client."""

    def __init__(self, store: Store, history: History | None) -> None:
        self._store = store
        self._history = history

    async def page(self, query: JobQuery) -> Page:
        """Raises ValueError, HistoryMissing, HistoryUnavailable."""
        wanted = _wanted(query)
        limit, cursor = query.get("limit", 50), query.get("cursor")
        if query.get("payload") or query.get("error"):
            if self._history is None:
                raise HistoryMissing("jobs are searched by payload and error in history, and none is set")
            return await self._of_history(
                query, wanted, limit, _Cursor() if cursor is None else _Cursor.parse(cursor)
            )
        if self._history is not None and cursor is not None and cursor.startswith(_OF_HISTORY):
            return await self._of_history(query, wanted, limit, _Cursor.parse(cursor))
        page = await self._of_redis(query, wanted, limit, cursor)
        if page.cursor is not None or self._history is None or query.get("status") not in (None, *SETTLED):
            return page
        at, left = _Cursor(page.reached), limit - len(page.jobs)
        if left == 0 or page.partial:
            return page._replace(cursor=str(at))
        try:
            rest = await self._of_history(query, wanted, left, at)
        except HistoryUnavailable:  # what Redis has is shown all the same
            return page._replace(cursor=str(at), partial=True)
        return Page([*page.jobs, *rest.jobs], rest.cursor, rest.partial)

    async def _of_redis(self, query: JobQuery, wanted: Wanted, limit: int, cursor: str | None) -> Page:
        place: Any = {"limit": limit, "cursor": cursor, "wanted": wanted}
        if (tag := query.get("tag")) is not None:
            return await within(self._store.related_jobs.tagged(tags.parse_one(tag), **place))
        if (parent := query.get("parent")) is not None:
            return await within(self._store.related_jobs.children(parent, **place))
        if query.get("status") == "scheduled":
            return await within(self._store.scheduled_jobs.page(**place))
        if self._history is None:
            return await within(self._store.newest_jobs.page(**place))
        forgotten = _Forgotten(self._history, wanted.left_out)
        # without Redis' deadline: history may take longer
        page = await self._store.newest_jobs.page(**place, forgotten=forgotten)
        return page._replace(partial=page.partial or forgotten.is_away)

    async def _of_history(self, query: JobQuery, wanted: Wanted, limit: int, at: _Cursor) -> Page:
        """What is behind Redis' own list; a job that Redis still has is shown as that has it."""
        assert self._history is not None
        search, fits = await self._bounded(_search(query, wanted, at.place), wanted, at.reached)
        page = await self._history.page(search, limit, wanted.left_out, fits)
        live = {job.id: job for job in await self._store.jobs.known([job.id for job in page.jobs], wanted.left_out)}
        listed: set[str] = set()  # in Redis' own list
        if (search.tag or search.parent) and not (search.payload or search.error):
            tag = None if search.tag is None else ":".join(search.tag)
            listed = set(await self._store.related_jobs.ids_of(tag=tag, parent=search.parent))
        shown = [live.get(job.id, job) for job in page.jobs if job.id not in live or job.id not in listed]
        cursor = None if page.cursor is None else str(at._replace(place=page.cursor))
        return Page([job for job in shown if wanted.has(job)], cursor, page.partial)

    async def _bounded(
        self, search: Search, wanted: Wanted, reached: tuple[int | None, ...]
    ) -> tuple[Search, Callable[[Job], bool]]:
        """The search, down from where Redis' list ended in each shard."""
        if not reached:
            return search, lambda job: wanted.fits(job.type)
        if len(reached) != self._store.shards:
            raise ValueError("not a cursor of this list")
        listed = await within(self._store.newest_jobs.made_at(reached))
        if None not in reached:
            latest = max(ms for ms in reached if ms is not None)
            search = replace(search, before=latest if search.before is None else min(latest, search.before))

        def fits(job: Job) -> bool:
            shard = ids.shard_of(job.id)
            down_to = reached[shard] if shard < len(reached) else None
            is_behind = down_to is None or job.created_at <= down_to
            return is_behind and job.id not in listed and wanted.fits(job.type)

        return search, fits


def _wanted(query: JobQuery) -> Wanted:
    """Raises ValueError."""
    type, visible = query.get("type"), query.get("visible")
    after, before = query.get("after"), query.get("before")
    return Wanted(
        lambda own: type in (None, own) and (visible is None or visible(own)),
        query.get("status"),
        query.get("lane"),
        None if after is None else durations.unix_ms(after),
        None if before is None else durations.unix_ms(before),
        tuple(name for name in LIST_FIELDS if name not in query.get("fields", LIST_FIELDS)),
    )


def _search(query: JobQuery, wanted: Wanted, cursor: str | None) -> Search:
    """Raises ValueError."""
    from runtime.history.queries import place
    from runtime.history.search import Search

    tag = None if (text := query.get("tag")) is None else tags.parse_one(text).partition(":")[::2]
    return Search(
        query.get("type"),
        wanted.status,
        wanted.lane,
        wanted.after,
        wanted.before,
        tag,
        query.get("parent"),
        query.get("payload") or {},
        query.get("error"),
        None if cursor is None else place(cursor),
    )
