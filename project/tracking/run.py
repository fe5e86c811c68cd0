"""One MLflow run: opened before training, filled while it lasts, closed with its outcome."""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import mlflow
import numpy as np
import yaml
from filelock import FileLock, Timeout
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException

from project.config.check import Config, check
from project.config.compose import Node
from project.core.arrays import Array
from project.core.errors import Pruned, TrainingError, UserError, one_line
from project.core.signals import Stopped, defer_stop_signals
from project.tracking import lineage
from project.tracking.lineage import Data
from project.tracking.store import checkpoint_folder, open_store, use_tracking_uri

PARENT = "mlflow.parentRunId"  # tag of a nested run
MAX_PARAM = 6000  # characters; MLflow cuts longer values silently
MAX_BATCH = 100  # params or tags that MLflow takes in one call
log = logging.getLogger(__name__)


class Run:
    """A run in MLflow and its folder of checkpoints.

    As a context manager it is RUNNING for the block; it ends as FINISHED, KILLED (``Stopped``, or
    ``Pruned`` with a tag) or FAILED (any other exception).

    Args:
        run_id: Id of an existing run.

    Attributes:
        folder: Folder of checkpoints and unsent metrics.
        best_checkpoint: File of the weights with the best score on val.
        last_checkpoint: File of the training state at the end of the last complete epoch.
    """

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self.folder = checkpoint_folder(run_id)
        self.best_checkpoint = self.folder / "best.ckpt"
        self.last_checkpoint = self.folder / "last.ckpt"
        self.client, self.experiment_id = open_store()

    @classmethod
    def create(cls, config: Config, data: Data | None, tags: Mapping[str, str]) -> "Run":
        """Creates a run; ``log_start``, inside its context, logs what is known before training.

        Args:
            config: Config of the run.
            data: Data of the run; None if they couldn't be built.
            tags: Further tags.
        """
        client, experiment_id = open_store()
        model, source = config.model_name, config.data_name
        all_tags = {
            "mlflow.runName": f"{model}-{source}",
            "model": model,
            "data": source,
            **lineage.source_tags(),
            **(lineage.data_tags(data) if data is not None else {}),
            **tags,
        }
        run = cls(client.create_run(experiment_id, tags=all_tags).info.run_id)
        run.folder.mkdir(parents=True, exist_ok=True)
        return run

    @classmethod
    @contextmanager
    def begin(cls, config: Config, data: Data | None, tags: Mapping[str, str]) -> Iterator["Run"]:
        """Creates a run and keeps it RUNNING for the block; see ``create``."""
        # Without this, a stop signal between creating and entering would leave the run RUNNING.
        with ExitStack() as stack:
            with defer_stop_signals():
                run = stack.enter_context(cls.create(config, data, tags))
            yield run

    def log_start(self, config: Config, data: Data) -> None:
        """Logs config, code, packages and data; the config first, because a resume needs it."""
        self.log_text(yaml.safe_dump(config.model_dump(), sort_keys=False), "config.yaml")
        self.log_params(config.flatten())
        self.log_text(lineage.command_line() + "\n", "command.txt")
        self.log_text(lineage.packages(), "requirements.txt")
        if diff := lineage.uncommitted():
            self.log_text(diff, "uncommitted.diff")
        inputs = lineage.dataset_inputs(data, config.data_name)
        self.client.log_inputs(self.id, datasets=inputs)
        self.log_text(json.dumps(lineage.describe_split(data)), "split.json")

    @property
    def has_start(self) -> bool:
        """Whether ``log_start`` was completed; the split is the last artifact that it logs."""
        return any(file.path == "split.json" for file in self.client.list_artifacts(self.id))

    def __enter__(self) -> Self:
        tags = self.mlflow_run.data.tags
        # A process of a sweep that was stopped a moment ago may still be closing its run.
        timeout = 60 if PARENT in tags else 0
        self._lock = FileLock(self.folder / "lock", timeout=timeout)
        try:
            self._lock.acquire()
        except Timeout:
            reason = "this run is being trained right now"
            raise UserError(f"resume: {self.id}: {reason}: stop it first") from None
        self.client.update_run(self.id, status="RUNNING")
        for tag in {"failure", "pruned"} & set(tags):  # An earlier attempt has left them.
            self.client.delete_tag(self.id, tag)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self.close(error)
        finally:
            self._lock.release()

    def close(self, error: BaseException | None) -> None:
        """Sets the final status in MLflow.

        Args:
            error: Exception that ended the run; None if it was completed.
        """
        status = "FINISHED"
        if error is not None:
            is_stopped = isinstance(error, (Stopped, KeyboardInterrupt, Pruned))
            status = "KILLED" if is_stopped else "FAILED"
        try:
            if isinstance(error, Pruned):
                self.set_tags({"pruned": error})
            elif error is not None:
                self.set_tags({"failure": describe(error)})
            self.client.set_terminated(self.id, status)
        except MlflowException as failure:  # The trained weights are in the folder.
            message = f"MLflow is unreachable ({one_line(failure)}): resume run {self.id} later"
            if error is None:
                raise TrainingError(message) from None
            log.error(message)

    @property
    def mlflow_run(self) -> MlflowRun:
        """MLflow's present record of the run."""
        return self.client.get_run(self.id)

    def config(self) -> Config:
        """The config that the run was started with.

        Raises:
            UserError: The run has none, or the keys of a config have changed since.
        """
        return check(self.stored_config())

    def stored_config(self) -> Node:
        """The config as the run has logged it, even if today's code would reject it.

        Raises:
            UserError: The run has none.
        """
        stored: Node | None = yaml.safe_load(self.read_text("config.yaml"))
        if stored is None:
            reason = "it was stopped before its config was saved"
            raise UserError(f"run: {self.id}: {reason}: expected another run")
        return stored

    def history(self, key: str) -> tuple[Array, Array]:
        """Steps and values of a metric, in order; the later value where a step was repeated."""
        points = self.client.get_metric_history(self.id, key)
        values = {p.step: p.value for p in sorted(points, key=lambda p: (p.step, p.timestamp))}
        return np.array(list(values), dtype=np.int64), np.array(list(values.values()))

    def read_text(self, file: str) -> str:
        """The text of an artifact; empty if the run has none of that name."""
        try:
            path = Path(self.client.download_artifacts(self.id, file))
            return path.read_bytes().decode()  # A diff keeps its line ends.
        except (MlflowException, OSError):
            return ""

    def load_figure(self, name: str) -> Any:
        """A logged figure, such as ``learning_curves``, as a PIL image."""
        with use_tracking_uri():
            return mlflow.artifacts.load_image(f"runs:/{self.id}/figures/{name}.png")

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Logs params; values are converted to text."""
        entities = [Param(key, str(value)[:MAX_PARAM]) for key, value in params.items()]
        for start in range(0, len(entities), MAX_BATCH):
            self.client.log_batch(self.id, params=entities[start : start + MAX_BATCH])

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Logs metrics at once; the training loop uses the writer instead."""
        now = time.time_ns() // 1_000_000
        points = [Metric(key, value, now, step) for key, value in metrics.items()]
        self.client.log_batch(self.id, metrics=points)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Sets tags; values are converted to text."""
        self.client.log_batch(self.id, tags=[RunTag(k, str(v)) for k, v in tags.items()])

    def log_text(self, text: str, file: str) -> None:
        """Saves text as an artifact."""
        self.client.log_text(self.id, text, file)

    def log_files(self, folder: Path, name: str) -> None:
        """Saves the files of a folder as artifacts in a folder ``name``."""
        self.client.log_artifacts(self.id, str(folder), name)

    def log_figures(self, figures: Iterable[tuple[str, Any]]) -> None:
        """Saves Matplotlib figures as PNG under ``figures/``."""
        for name, figure in figures:
            self.client.log_figure(self.id, figure, f"figures/{name}.png", save_kwargs={"dpi": 120})


def describe(error: BaseException) -> str:
    """Type and message of an exception, short enough for a tag."""
    return f"{type(error).__name__}: {error}".strip()[:5000]
