"""Serves Optuna Dashboard on this machine alone.

Usage: python -m project.sweep.dashboard [storage=postgresql://...] [port=8080]
"""

from collections.abc import Sequence
from contextlib import suppress

from project.cli.command import parse_port, run_command
from project.core.errors import UserError
from project.core.signals import Stopped, stoppable


def main(arguments: Sequence[str]) -> None:
    """Runs the server until Ctrl-C."""
    from project.sweep.study import default_storage, open_storage

    url, port = default_storage(), 8080
    for argument in arguments:
        if argument.startswith("storage="):
            url = argument.removeprefix("storage=")
        else:
            port = parse_port(argument)
    try:
        from optuna_dashboard import run_server
    except ImportError:
        raise UserError(
            'optuna_dashboard is missing: expected `.venv/bin/pip install -e ".[dashboard]"` before'
        ) from None
    storage = open_storage(url)
    print(
        f"open this address (Ctrl-C ends it):\n\n  http://127.0.0.1:{port}/dashboard\n", flush=True
    )
    with stoppable(), suppress(Stopped):
        run_server(storage, host="127.0.0.1", port=port)


if __name__ == "__main__":
    run_command(main, __doc__)
