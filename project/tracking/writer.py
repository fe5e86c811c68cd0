"""Sends metrics to MLflow in batches from a thread of its own, without losing any."""

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric

log = logging.getLogger(__name__)
MAX_BATCH = 1000  # metrics that MLflow takes in one call
SAMPLE_INTERVAL = 10.0  # seconds
Point = tuple[str, float, int, int]  # key, value, milliseconds since 1970, step


class MetricWriter:
    """A buffer, a spool file behind it, and a thread that sends both to MLflow.

    While the store is unreachable, metrics stay in the spool; they are sent when it is back, at the
    end of the run, or when the run is resumed. MLflow keeps a point that is sent twice only once.

    Args:
        client: MLflow client.
        run_id: MLflow run id.
        spool: File for metrics that were not sent yet.
        interval: Seconds between two batches; grows while the store is unreachable.
        sample: Returns further metrics and their step, such as CPU usage; called in the thread at
            the start, at the end and every ten seconds.
    """

    def __init__(
        self,
        client: MlflowClient,
        run_id: str,
        spool: Path,
        interval: float = 2.0,
        sample: Callable[[], tuple[dict[str, float], int]] | None = None,
    ) -> None:
        self._client = client
        self._run_id = run_id
        self._spool = spool
        self._interval = interval
        self._sample = sample
        self._sampled = -math.inf
        self._buffer: list[tuple[int, int, Mapping[str, Any]]] = []
        self._lock = threading.Lock()  # held for the file, never for the network
        self._closing = threading.Event()
        if spool.exists():  # A crash may have cut off the last line.
            content = spool.read_bytes()
            spool.write_bytes(content[: content.rfind(b"\n") + 1])
        self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)
        self._thread.start()

    def add(self, metrics: Mapping[str, Any], step: int) -> None:
        """Buffers metrics, numbers or tensors of one element, and returns at once."""
        self._buffer.append((time.time_ns() // 1_000_000, step, metrics))

    def save(self) -> None:
        """Writes the buffer to the spool, which survives a killed process."""
        with self._lock:
            rows, self._buffer = self._buffer, []
            if rows:
                with self._spool.open("a") as file:
                    for milliseconds, step, metrics in rows:
                        for key, value in metrics.items():
                            point: Point = (key, float(value), milliseconds, step)
                            file.write(json.dumps(point) + "\n")

    def flush(self) -> bool:
        """Sends everything; False if the store was unreachable, and the spool keeps it."""
        self.save()
        with self._lock:
            content = self._spool.read_bytes() if self._spool.exists() else b""
        points = [json.loads(line) for line in content.splitlines()]
        try:
            for start in range(0, len(points), MAX_BATCH):
                batch = [Metric(*point) for point in points[start : start + MAX_BATCH]]
                self._client.log_batch(self._run_id, metrics=batch)
        except Exception as error:  # The store, its driver or the network may raise any.
            log.warning("MLflow is unreachable (%s), metrics wait in a file", type(error).__name__)
            return False
        with self._lock:
            if content:
                rest = self._spool.read_bytes()[len(content) :]  # Others were saved meanwhile.
                temporary = self._spool.with_suffix(".new")
                temporary.write_bytes(rest)
                temporary.replace(self._spool)
        return True

    def close(self, patience: float = 30.0) -> bool:
        """Stops the thread and sends the rest.

        Args:
            patience: Seconds to retry while the store is unreachable.

        Returns:
            Whether everything was sent.
        """
        self._closing.set()
        self._thread.join()
        deadline = time.monotonic() + patience
        while not self.flush():
            if time.monotonic() > deadline:
                log.error("%s keeps unsent metrics: resume the run to send them", self._spool)
                return False
            time.sleep(1)
        self._spool.unlink(missing_ok=True)
        return True

    def _work(self) -> None:
        wait = self._interval
        self._add_sample()
        while not self._closing.wait(wait):
            if time.monotonic() - self._sampled >= SAMPLE_INTERVAL:
                self._add_sample()
            wait = self._interval if self.flush() else min(60.0, 2 * wait)
        self._add_sample()

    def _add_sample(self) -> None:
        if self._sample is not None:
            self._sampled = time.monotonic()
            self.add(*self._sample())
