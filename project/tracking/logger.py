"""Sends the metrics of a training to MLflow, from a thread of its own and without losing any."""

import json
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from mlflow import MlflowClient
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from project.core.errors import TrainingError
from project.core.signals import defer_stop_signals
from project.tracking.run import Point, Run, log_points
from project.tracking.store import tracking_uri

log = logging.getLogger(__name__)
SAMPLE_INTERVAL = 10.0  # seconds


class RunLogger(Logger):
    """A Lightning logger: a buffer, a spool file behind it, and a thread that sends both to MLflow.

    While the store is unreachable, metrics stay in the spool; they are sent when it is back, at the
    end of the run, or when the run is resumed. MLflow keeps a point that is sent twice only once.
    """

    name, version = "mlflow", None  # Lightning has no use for them: nothing is stored by name.

    def __init__(
        self,
        client: MlflowClient,
        run_id: str,
        spool: Path,
        interval: float = 2.0,  # seconds between two batches; longer while it is unreachable
        monitor: SystemMetricsMonitor | None = None,  # samples CPU usage and the like
        started: float = 0.0,  # seconds since 1970; the steps of these samples count from it
    ) -> None:
        self._client, self._run_id = client, run_id
        self._spool, self._interval = spool, interval
        self._monitor, self._started, self._sampled = monitor, started, -math.inf
        self._buffer: deque[tuple[int, int, Mapping[str, Any]]] = deque()
        self._lock = threading.Lock()  # held for the file, never for the network
        self._closing = threading.Event()
        content = spool.read_bytes() if spool.exists() else b""
        spool.write_bytes(content[: content.rfind(b"\n") + 1])  # A crash may have cut a line off.
        self._thread = threading.Thread(target=self._work, name="metrics", daemon=True)
        self._thread.start()

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the run's config is logged when it is opened."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Buffers metrics; those that are tensors of one element are read later, in the thread."""
        self._buffer.append((time.time_ns() // 1_000_000, step or 0, metrics))

    def save(self) -> None:
        """Writes the buffer to the spool, which survives a killed process."""
        with self._lock, self._spool.open("a") as file:
            while self._buffer:
                milliseconds, step, metrics = self._buffer.popleft()
                for key, value in metrics.items():
                    point: Point = (key, float(value), milliseconds, step)
                    file.write(json.dumps(point) + "\n")

    def flush(self) -> bool:
        """Sends everything; False if the store was unreachable, and the spool keeps it."""
        self.save()
        with self._lock:
            content = self._spool.read_bytes()
        points = [json.loads(line) for line in content.splitlines()]
        try:
            log_points(self._client, self._run_id, points)
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
        """Stops the thread and sends the rest, for some seconds; returns whether all was sent."""
        self._closing.set()
        self._thread.join()
        deadline = time.monotonic() + patience
        while not self.flush():
            if time.monotonic() > deadline:
                log.error("%s keeps unsent metrics: resume the run to send them", self._spool)
                return False
            time.sleep(1)
        self._spool.unlink()
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
        """Logs system metrics by second; MLflow's own thread reads the whole run at each sample."""
        if self._monitor is None:
            return
        self._sampled = time.monotonic()
        self._monitor.collect_metrics()
        values = {f"system/{key}": each for key, each in self._monitor.aggregate_metrics().items()}
        for each in self._monitor.monitors:
            each.clear_metrics()
        self.log_metrics(values, int(time.time() - self._started))


@contextmanager
def metric_logger(run: Run) -> Iterator[RunLogger]:
    """Opens the logger of a run; all metrics are sent when the block ends, however it ends."""
    monitor = SystemMetricsMonitor(run.id, tracking_uri=tracking_uri())
    monitor.collect_metrics()  # CPU usage is measured between two calls.
    started, spool = run.mlflow_run.info.start_time / 1000, run.folder / "metrics.jsonl"
    logger = RunLogger(run.client, run.id, spool, monitor=monitor, started=started)
    try:
        yield logger
    except BaseException:
        # If another process has died, the launcher's SIGTERM follows its error at once.
        with defer_stop_signals():
            logger.close()
        raise
    if not logger.close():
        remedy = f"run {run.id} can be resumed later, {run.folder} keeps its metrics"
        raise TrainingError(f"MLflow is unreachable: {remedy}")
