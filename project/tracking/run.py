"""One MLflow run: opened before training, filled while it lasts, closed with its outcome."""

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import yaml
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.utils import chunk_list
from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH

from project.config.check import Config, check
from project.config.compose import Node
from project.core.arrays import Array
from project.core.errors import Pruned, TrainingError, UserError, one_line
from project.core.signals import Stopped, defer_stop_signals
from project.tracking import lineage
from project.tracking.description import describe_run
from project.tracking.labels import DESCRIPTION, PARENT
from project.tracking.lineage import Data
from project.tracking.store import Kind, checkpoint_folder, open_store, use_tracking_uri

Point = tuple[str, float, int, int]  # name, value, milliseconds since 1970 and step of a metric
log = logging.getLogger(__name__)


class Run:
    """A run in MLflow, and its folder of checkpoints and unsent metrics."""

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self.folder = checkpoint_folder(run_id)
        self.best_checkpoint = self.folder / "best.ckpt"  # weights with the best score on val
        self.last_checkpoint = self.folder / "last.ckpt"  # training state after the last epoch
        self.client = open_store()[0]

    @classmethod
    def create(cls, tags: Mapping[str, str], kind: Kind = "") -> "Run":
        """Creates a run with these tags, such as ``mlflow.runName``, and those of its source.

        A nested run goes to the experiment of its parent, any other to that of its kind.
        """
        client, experiment_id = open_store(kind)
        if PARENT in tags:
            experiment_id = cls(tags[PARENT]).experiment_id
        all_tags = {**lineage.source_tags(), **tags}
        run = cls(client.create_run(experiment_id, tags=all_tags).info.run_id)
        run.log_text(lineage.command_line() + "\n", "command.txt")
        return run

    @classmethod
    @contextmanager
    def begin(cls, config: Config, data: Data | None, tags: Mapping[str, str]) -> Iterator["Run"]:
        """Creates the run of a config and keeps it open for the block."""
        # Without this, a stop signal between creating and entering would leave the run RUNNING.
        with ExitStack() as stack:
            with defer_stop_signals():
                run = cls.create({**lineage.run_tags(config, data), **tags})
                stack.enter_context(run.open())
            yield run

    def log_start(self, config: Config, data: Data) -> None:
        """Logs config, code, packages and data; the config first, because a resume needs it."""
        self.log_text(yaml.safe_dump(config.model_dump(), sort_keys=False), "config.yaml")
        self.log_params(config.flatten())
        self.log_text(lineage.packages(), "requirements.txt")
        if diff := lineage.uncommitted():
            self.log_text(diff, "uncommitted.diff")
        self.client.log_inputs(self.id, datasets=lineage.dataset_inputs(config, data))
        indices = {name: each.tolist() for name, each in vars(data.split).items()}
        split = {"fingerprint": data.fingerprint, "sha256": data.fingerprints, **indices}
        self.log_text(json.dumps(split), "split.json")

    @property
    def has_start(self) -> bool:
        """Whether ``log_start`` was completed; the split is the last artifact that it logs."""
        return any(file.path == "split.json" for file in self.client.list_artifacts(self.id))

    @contextmanager
    def open(self) -> Iterator["Run"]:
        """Keeps the run RUNNING for the block, and others from training it at the same time."""
        # A process of a sweep that was stopped a moment ago may still be closing its run.
        timeout = 60 if PARENT in self.mlflow_run.data.tags else 0
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(self.folder / "lock", timeout=timeout).acquire()
        except Timeout:
            reason = "this run is being trained right now"
            raise UserError(f"resume: {self.id}: {reason}: stop it first") from None
        with lock, self.running():
            yield self

    @contextmanager
    def running(self) -> Iterator[None]:
        """Keeps the run RUNNING for the block, then closes it according to how the block ended."""
        self.client.update_run(self.id, status="RUNNING")
        for tag in {"failure", "pruned"} & set(self.mlflow_run.data.tags):
            self.client.delete_tag(self.id, tag)  # An earlier attempt has left it.
        try:
            yield
        except BaseException as error:
            self.close(error)
            raise
        self.close(None)

    def close(self, error: BaseException | None) -> None:
        """Sets the final status: FINISHED, KILLED or FAILED, with the reason as a tag."""
        status = "FINISHED" if error is None else "FAILED"
        if isinstance(error, (Stopped, KeyboardInterrupt, Pruned)):
            status = "KILLED"
        try:
            if isinstance(error, Pruned):
                self.set_tags({"pruned": error})
            elif error is not None:
                self.set_tags({"failure": describe(error)})
            if "split.fingerprint" in (stored := self.mlflow_run).data.tags:  # It trains a model.
                self.set_tags({DESCRIPTION: describe_run(stored)})
            self.client.set_terminated(self.id, status)
        except MlflowException as failure:  # The trained weights are in the folder.
            message = f"MLflow is unreachable ({one_line(failure)}): resume run {self.id} later"
            if error is None:
                raise TrainingError(message) from None
            log.error(message)

    @cached_property
    def experiment_id(self) -> str:
        """MLflow's id of the experiment that the run is in."""
        return str(self.mlflow_run.info.experiment_id)

    @property
    def mlflow_run(self) -> MlflowRun:
        """MLflow's present record of the run."""
        return self.client.get_run(self.id)

    def config(self) -> Config:
        """The config of the run; ``UserError`` if it has none that today's code accepts."""
        return check(self.stored_config())

    def stored_config(self) -> Node:
        """The config as the run has logged it; ``UserError`` if it was stopped before that."""
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
        """Logs params as text, of which MLflow stores 6,000 characters."""
        entities = [Param(key, str(value)[:6000]) for key, value in params.items()]
        for batch in chunk_list(entities, MAX_PARAMS_TAGS_PER_BATCH):
            self.client.log_batch(self.id, params=batch)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Logs metrics at once; the training loop uses the logger instead."""
        now = time.time_ns() // 1_000_000
        points = [(name, value, now, step) for name, value in metrics.items()]
        log_points(self.client, self.id, points)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Sets tags; values are converted to text."""
        self.client.log_batch(self.id, tags=[RunTag(k, str(v)) for k, v in tags.items()])

    def log_text(self, text: str, file: str) -> None:
        """Saves text as an artifact."""
        self.client.log_text(self.id, text, file)

    def log_figures(self, figures: Iterable[tuple[str, Any]]) -> None:
        """Saves Matplotlib figures as PNG under ``figures/``."""
        for name, figure in figures:
            self.client.log_figure(self.id, figure, f"figures/{name}.png", save_kwargs={"dpi": 120})


def close_run(run_id: str, status: str, failure: str) -> None:
    """Closes a run whose process is gone, as ``KILLED`` or ``FAILED``."""
    run = Run(run_id)
    run.set_tags({"failure": failure})
    run.client.set_terminated(run_id, status)


def log_points(client: MlflowClient, run_id: str, points: Sequence[Point]) -> None:
    """Logs points of metrics; those that are stored already are not duplicated."""
    for batch in chunk_list(points, MAX_METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=[Metric(*point) for point in batch])


def describe(error: BaseException) -> str:
    """Type and message of an exception, short enough for a tag."""
    return f"{type(error).__name__}: {error}".strip()[:5000]
