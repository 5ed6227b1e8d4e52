"""What may be wrong between workers, functions and the jobs that wait for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from runtime.doctor.finding import Finding
from runtime.jobs.built_in import NAMES
from runtime.store.archive import Lag
from runtime.store.checkup import KEYS_READ, Overdue, Strays
from runtime.store.registry import Deployed, WorkerInfo
from runtime.store.stats import Depth

_BEHIND = 60.0  # seconds
_SHOWN = 3


def of_functions(
    functions: Mapping[str, Deployed], workers: Sequence[WorkerInfo], depths: Iterable[Depth]
) -> Iterator[Finding]:
    waiting: dict[str, int] = defaultdict(int)
    for depth in depths:
        waiting[depth.function] += depth.waiting
    served = {name for worker in workers for name in worker.functions}
    for name, count in sorted(waiting.items()):
        if count and name not in served:
            yield Finding(
                "no-worker",
                "error",
                f"{count} jobs of {name} wait, and no worker that lives has it",
                "start a worker: lanework worker"
                if name in NAMES
                else f"start a worker that has it, or give them up: lanework clear {name}",
            )
    if not workers:
        yield Finding("no-workers", "error", "no worker is alive", "start one: lanework worker")
    for worker in workers:
        if not worker.functions.keys() - NAMES:
            yield Finding(
                "worker-empty",
                "warning",
                f"{worker.id} has no function of yours",
                "see whether its LANEWORK_FUNCTIONS_DIR is the folder that you mean, and mounted",
            )
    for name, function in sorted(functions.items()):
        if function.broken is not None and function.serves == name:
            last = function.broken.strip().splitlines()[-1:]
            yield Finding(
                "function-broken",
                "error",
                f"{name} does not load: {' '.join(last)[:200]}",
                f"mend functions/{name}.py; lanework functions shows the traceback",
            )
    yield from _versions(workers)


def _versions(workers: Sequence[WorkerInfo]) -> Iterator[Finding]:
    by_function: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for worker in workers:
        for name, version in worker.functions.items():
            by_function[name][version].append(worker.id)
    for name, by_version in sorted(by_function.items()):
        if len(by_version) > 1:
            where = "; ".join(f"{version} on {_some(ids)}" for version, ids in sorted(by_version.items()))
            yield Finding(
                "versions-differ",
                "warning",
                f"workers run different versions of {name}: {where}",
                "bring the same modules to all; during an update it passes by itself",
            )


def of_paused(paused: Sequence[str]) -> Iterator[Finding]:
    for name in paused:
        kind, _, which = name.partition(":")
        what = "everything" if name == "*" else f"the {kind} {which}"
        option = "" if name == "*" else f" --lane {which}" if kind == "lane" else f" {which}"
        yield Finding("paused", "warning", f"{what} is paused", f"when it may go on: lanework resume{option}")


def of_attempts(overdue: Iterable[Overdue]) -> Iterator[Finding]:
    for late in overdue:
        yield Finding(
            "leases-expired",
            "error",
            f"{late.attempts} attempts of {late.function} in {late.lane} are nobody's for {late.seconds:.0f} s: "
            "their workers are lost, and none takes them over",
            "start a worker: any one takes over what others have lost; and give all the same LANEWORK_LEASE",
        )


def of_keys(strays: Strays) -> Iterator[Finding]:
    beyond = f" (of the first {KEYS_READ:,} keys)" if strays.partial else ""
    if strays.unknown:
        yield Finding(
            "keys-unknown",
            "warning",
            f"{len(strays.unknown)} keys have names that are none of Lanework's{beyond}: {_some(strays.unknown)}",
            "another program uses the same LANEWORK_PREFIX, or a newer version did: delete what nobody needs",
        )
    if strays.endless:
        yield Finding(
            "keys-endless",
            "warning",
            f"{len(strays.endless)} keys should expire and do not{beyond}: {_some(strays.endless)}",
            "something else has changed them: delete them while no worker runs",
        )


def of_history(lag: Lag | None, *, is_set: bool) -> Iterator[Finding]:
    if lag is not None and lag.seconds > _BEHIND:
        yield Finding(
            "history-behind",
            "warning",
            f"history is {lag.seconds:.0f} s behind, by {lag.entries} entries",
            "see whether lanework history run and its database are up; to do without: lanework history off",
        )
    if lag is None and is_set:
        yield Finding(
            "history-unwritten",
            "warning",
            "LANEWORK_HISTORY_URL is set, and nothing is kept for it",
            "start lanework history run",
        )


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
