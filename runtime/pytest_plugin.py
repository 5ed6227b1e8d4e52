"""What pytest loads where Lanework is installed: a fixture, and nothing that takes long to import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from runtime.testing import Running


@pytest.fixture(scope="session")
def lanework() -> Iterator[Running]:
    """A whole Lanework with the functions of `LANEWORK_FUNCTIONS_DIR`, else of `functions/`, for all tests."""
    from runtime.testing import running

    with running() as instance:
        yield instance
