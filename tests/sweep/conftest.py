"""What the tests of sweeps share: one that is finished."""

from collections.abc import Iterator

import pytest
from sweep.accounts import Swept, opened, sweep


@pytest.fixture(scope="session")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swept]:
    """A finished sweep."""
    folder = tmp_path_factory.mktemp("sweep")
    code, output = sweep(folder, "sweep.trials=8", "sweep.workers=1")
    assert code == 0, output
    with opened(folder, output) as found:
        yield found
