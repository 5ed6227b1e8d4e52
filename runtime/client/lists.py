"""Lists of jobs: from Redis, and behind it from history, behind one cursor."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypedDict

from runtime.client.deadline import within
from runtime.errors import HistoryMissing
from runtime.jobs import tags
from runtime.jobs.job import SETTLED, Job
from runtime.store.listing import Page, Wanted
from runtime.store.store import Store
from runtime.values import durations, ids

if TYPE_CHECKING:
    from runtime.history.history import History
    from runtime.history.search import Search

LIST_FIELDS = ("payload", "result")  # which a list may leave out
_OF_HISTORY = "history"  # what a cursor begins with


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
            return await self._of_history(query, wanted, limit, None if cursor in (None, _OF_HISTORY) else cursor)
        if self._history is not None and cursor is not None and cursor.startswith(_OF_HISTORY):
            return await self._of_history(query, wanted, limit, None if cursor == _OF_HISTORY else cursor)
        page = await self._of_redis(query, wanted, limit, cursor)
        if page.cursor is not None or self._history is None or query.get("status") not in (None, *SETTLED):
            return page
        left = limit - len(page.jobs)
        if left == 0 or page.partial:
            return page._replace(cursor=_OF_HISTORY)
        rest = await self._of_history(query, wanted, left, None)
        return Page([*page.jobs, *rest.jobs], rest.cursor, rest.partial)

    async def _of_redis(self, query: JobQuery, wanted: Wanted, limit: int, cursor: str | None) -> Page:
        listing = self._store.listing
        place: Any = {"limit": limit, "cursor": cursor, "wanted": wanted}
        if (tag := query.get("tag")) is not None:
            return await within(listing.tagged(tags.parse_one(tag), **place))
        if (parent := query.get("parent")) is not None:
            return await within(listing.children(parent, **place))
        if query.get("status") == "scheduled":
            return await within(listing.scheduled(**place))
        history = self._history
        if history is not None:
            place["forgotten"] = lambda job_ids: history.get_many(job_ids, wanted.left_out)
        return await within(listing.page(**place))

    async def _of_history(self, query: JobQuery, wanted: Wanted, limit: int, cursor: str | None) -> Page:
        """What is behind Redis' own list; a job that Redis still has is shown as that has it."""
        assert self._history is not None
        search = _search(query, wanted, cursor)
        if search.payload or search.error or search.tag or search.parent:
            page = await self._history.page(search, limit, wanted.left_out, lambda job: wanted.fits(job.type))
            if search.tag or search.parent:  # Redis' list had those that it has
                known = {job.id for job in await self._store.jobs.known([job.id for job in page.jobs])}
                return page._replace(jobs=[job for job in page.jobs if job.id not in known])
        else:
            begins = await within(self._store.listing.begins())
            latest = max((ms for ms in begins if ms is not None), default=None)
            if None not in begins and latest is not None:
                search = replace(search, before=min(latest, search.before) if search.before else latest)

            def fits(job: Job) -> bool:
                begin = begins[ids.shard_of(job.id)]
                return wanted.fits(job.type) and (begin is None or job.created_at < begin)

            page = await self._history.page(search, limit, wanted.left_out, fits)
        live = {job.id: job for job in await self._store.jobs.known([job.id for job in page.jobs], wanted.left_out)}
        shown = [live.get(job.id, job) for job in page.jobs]
        return page._replace(jobs=[job for job in shown if wanted.has(job)])


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
