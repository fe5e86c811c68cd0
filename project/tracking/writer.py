"""Sends metrics to MLflow in batches, off the training thread, and loses none of them."""

import json
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric

log = logging.getLogger(__name__)
MAX_BATCH = 1000  # metrics that MLflow takes in one call
Point = tuple[str, float, int, int]  # key, value, milliseconds since 1970, step


class MetricWriter:
    """A buffer with a thread that empties it.

    What the store doesn't take, because it is away, is kept in a file and sent when it is back:
    after a moment, at the end, or when the run is resumed.

    Args:
        client: of the store.
        run_id: whose metrics these are.
        unsent: the file for what could not be sent.
        interval: seconds between two batches.
    """

    def __init__(
        self, client: MlflowClient, run_id: str, unsent: Path, interval: float = 2.0
    ) -> None:
        self._client = client
        self._run_id = run_id
        self._unsent = unsent
        self._interval = interval
        self._buffer: list[tuple[int, int, Mapping[str, Any]]] = []
        self._closing = threading.Event()
        self._sending = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)
        self._thread.start()

    def add(self, metrics: Mapping[str, Any], step: int) -> None:
        """Takes metrics, as numbers or tensors of one element, and returns at once."""
        self._buffer.append((time.time_ns() // 1_000_000, step, metrics))

    def flush(self) -> bool:
        """Sends everything; False if the store didn't take it and it is in the file instead."""
        with self._sending:
            rows, self._buffer = self._buffer, []
            points = [
                (key, float(value), milliseconds, step)
                for milliseconds, step, metrics in rows
                for key, value in metrics.items()
            ]
            return self._send(points)

    def close(self, patience: float = 30.0) -> bool:
        """Ends the thread and sends what is left.

        Args:
            patience: seconds to try for, if the store is away.

        Returns:
            Whether everything was sent.
        """
        self._closing.set()
        self._thread.join()
        deadline = time.monotonic() + patience
        while not self.flush():
            if time.monotonic() > deadline:
                log.error(
                    "metrics that MLflow didn't take are in %s; resume sends them", self._unsent
                )
                return False
            time.sleep(1)
        return True

    def _work(self) -> None:
        while not self._closing.wait(self._interval):
            self.flush()

    def _read_unsent(self) -> list[Point]:
        if not self._unsent.exists():
            return []
        # The last line may have been cut off by a crash.
        lines = self._unsent.read_text().splitlines(keepends=True)
        return [tuple(json.loads(line)) for line in lines if line.endswith("\n")]

    def _send(self, points: list[Point]) -> bool:
        try:
            pending = self._read_unsent() + points
            for start in range(0, len(pending), MAX_BATCH):
                batch = [Metric(*point) for point in pending[start : start + MAX_BATCH]]
                self._client.log_batch(self._run_id, metrics=batch)
        except Exception as error:  # whatever the store, its driver or the network raise
            log.warning(
                "MLflow doesn't answer, metrics are kept in a file (%s)", type(error).__name__
            )
            with self._unsent.open("a") as file:
                file.writelines(json.dumps(point) + "\n" for point in points)
            return False
        self._unsent.unlink(missing_ok=True)
        return True
