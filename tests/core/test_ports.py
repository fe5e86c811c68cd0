"""Checking the port of a server."""

import re
import socket

import pytest

from project.core.errors import UserError
from project.core.ports import check_port_free


def test_a_port_in_use_is_an_error_and_a_free_one_is_not(free_port: int) -> None:
    check_port_free(free_port)
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port))
        server.listen()
        message = re.escape(f"port: {free_port}: Address already in use: expected a free port")
        with pytest.raises(UserError, match=f"^{message}$"):
            check_port_free(free_port)
