"""The command dashboard: Optuna Dashboard on this machine alone."""

from contextlib import suppress

from project.core.errors import UserError
from project.core.ports import check_port_free
from project.core.signals import Stopped, stoppable
from project.core.types import Port
from project.sweep.storage import open_storage

try:
    from optuna_dashboard import run_server
except ImportError:
    run_server = None


def dashboard(storage: str | None = None, port: Port = 8080) -> None:
    """Serves Optuna Dashboard on 127.0.0.1 until Ctrl-C.

    Args:
        storage: Address of Optuna's storage; the SQLite file beside the runs by default.
        port: Port of 127.0.0.1.

    Raises:
        UserError: The storage can't be opened, the port is taken or the dashboard is missing.
    """
    if run_server is None:
        install = 'run `.venv/bin/pip install -e ".[dashboard]"` first'
        raise UserError(f"optuna_dashboard is missing: {install}")
    check_port_free(port)
    opened = open_storage(storage, key="storage")
    address = f"http://127.0.0.1:{port}/dashboard"
    print(f"open this address (Ctrl-C ends it):\n\n  {address}\n", flush=True)
    with stoppable(), suppress(Stopped):
        run_server(opened, host="127.0.0.1", port=port)
