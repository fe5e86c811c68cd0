"""A server in a thread, requests to it, and tables to predict for."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import uvicorn

from project.serving import predict as command
from project.serving.predict import load_model
from project.serving.server import make_app

KNOWN = "area,code,zip,flag,both\n100,1,007,true,True\n90,2,008,false,False\n"
ODD = KNOWN + "80,x,A12,maybe,True\n70,,A12,maybe,True\n"


def predict(run: str, input: object, top_k: int | None = None) -> pd.DataFrame:
    return command.predict(run, str(input), top_k=top_k).table


class Client:
    """Sends requests to a server on 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> tuple[int, str]:
        return self._send(urllib.request.Request(f"{self.address}/{path}"))

    def post(self, body: Any, kind: str = "application/json", host: str = "") -> tuple[int, Any]:
        """Status and, if it is 200, the parsed JSON; else the text."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/invocations", content)
        request.add_header("Content-Type", kind)
        if host:
            request.add_header("Host", host)
        status, text = self._send(request)
        return status, json.loads(text) if status == 200 else text

    def _send(self, request: urllib.request.Request) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


@contextmanager
def serve_in_thread(run_id: str) -> Iterator[Client]:
    settings = uvicorn.Config(make_app(load_model(run_id)), "127.0.0.1", 0, log_level="critical")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    try:
        yield Client(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)
