"""The command `lanework`: if a package that it needs is not installed, it says how to install it."""

from __future__ import annotations

import sys


def main() -> None:
    try:
        from runtime.cli import main as commands
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("runtime"):
            raise
        sys.exit(f"lanework needs {error.name} for this: pip install 'lanework[server]', or 'lanework[all]'")
    commands.main()
