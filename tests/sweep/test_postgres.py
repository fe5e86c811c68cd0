"""Several machines on one study: two concurrent commands and a real PostgreSQL server."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sweep.accounts import check_accounts, opened, start, states, sweep

from project.core.errors import UserError
from project.sweep.storage import lock, mask, open_storage

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
pytestmark = pytest.mark.skipif(
    not BINARIES, reason="PostgreSQL is missing: Debian's package postgresql"
)


@pytest.fixture(scope="module")
def server(free_port: int) -> Iterator[str]:
    """The address of an empty database."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # where its own user can go
    # It refuses to run as root; the package has made a user for it.
    options = {"user": "postgres"} if os.geteuid() == 0 else {}
    if options:
        shutil.chown(folder, "postgres")
    data = folder / "data"
    subprocess.run(
        [BINARIES[-1] / "initdb", "-D", data, "-U", "tester", "--auth=trust", "--no-sync"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **options,  # type: ignore[call-overload]
    )
    with subprocess.Popen(
        [
            *(str(BINARIES[-1] / "postgres"), "-D", str(data), "-p", str(free_port)),
            *("-h", "127.0.0.1", "-k", str(folder)),
        ],
        stderr=subprocess.DEVNULL,
        cwd=folder,
        **options,  # type: ignore[call-overload]
    ) as process:
        address = f"postgresql://tester:secret@127.0.0.1:{free_port}/postgres"
        try:
            for _ in range(100):
                try:
                    open_storage(address)
                    break
                except UserError:
                    assert process.poll() is None
                    time.sleep(0.1)
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_two_machines_share_a_study_and_one_takes_up_what_the_other_leaves(
    server: str, tmp_path: Path
) -> None:
    arguments = (f'sweep.storage="{server}"', "sweep.trials=5", "sweep.workers=1", "sweep.top_k=1")
    with start(tmp_path, *arguments) as first, start(tmp_path, *arguments) as second:
        assert first.stdout is not None
        assert second.stdout is not None
        for process in (first, second):
            next(line for line in process.stdout if line.startswith("trial "))
        os.killpg(second.pid, signal.SIGKILL)
        output, _ = first.communicate(timeout=200)
        second.communicate(timeout=30)
    assert first.returncode == 0, output
    assert "secret" not in output
    with opened(tmp_path, output, url=server.replace("postgresql", "postgresql+psycopg")) as swept:
        assert len(swept.trials) == 5
        assert set(states(swept)) <= {"COMPLETE", "PRUNED"}
        check_accounts(swept)
        assert "secret" not in str(swept.parent.mlflow_run.data.tags)
        assert not (tmp_path / "optuna.db").exists()
        code, again = sweep(tmp_path, *arguments)
        assert code == 0, again
        assert len(swept.trials) == 5


def test_the_lock_is_exclusive_and_let_go_of_by_a_dead_process(server: str) -> None:
    with lock(server, "test", 1) as first, lock(server, "other", 1) as other:
        assert first
        assert other
        with lock(server, "test", 0.2) as second:
            assert not second
    with lock(server, "test", 1) as again:
        assert again


def test_passwords_are_not_shown() -> None:
    assert mask("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"


def test_a_server_that_is_not_there_is_one_line_and_nothing_is_made(tmp_path: Path) -> None:
    code, output = sweep(tmp_path, 'sweep.storage="postgresql://me:secret@127.0.0.1:1/none"')
    assert code == 2
    assert "error: sweep.storage: postgresql://me:***@127.0.0.1:1/none: can't be opened" in output
    assert "secret" not in output
    assert list(tmp_path.iterdir()) == []
