"""Ports of this machine."""

import socket

from project.core.errors import UserError


def check_port_free(port: int) -> None:
    """Raises ``UserError`` if this user can't open a server on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port: {port}: {error.strerror}: expected a free port") from None
