"""Looking at processes that may end at any moment."""

import psutil


def status(pid: int) -> str | None:
    """A process's status, None where there is no such process."""
    try:
        return str(psutil.Process(pid).status())
    except psutil.NoSuchProcess:
        return None


def alive(pid: int) -> bool:
    return status(pid) not in (None, psutil.STATUS_ZOMBIE)


def command(pid: int) -> list[str]:
    """Its name and its command line, nothing where there is no such process."""
    try:
        process = psutil.Process(pid)
        return [process.name(), *process.cmdline()]
    except psutil.NoSuchProcess:
        return []
