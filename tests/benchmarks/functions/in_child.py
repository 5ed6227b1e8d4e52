"""Does nothing, in a process."""


def handle() -> None: ...
