"""A finished sweep, shared by several tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sweep.accounts import Swept, opened, sweep


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a finished sweep, and what it printed."""
    folder = tmp_path_factory.mktemp("sweep")
    code, output = sweep(folder, "sweep.trials=8", "sweep.workers=1")
    assert code == 0, output
    return folder, output


@pytest.fixture
def swept(finished: tuple[Path, str]) -> Iterator[Swept]:
    """A finished sweep, whose store is the one in use."""
    with opened(*finished) as finished_sweep:
        yield finished_sweep
