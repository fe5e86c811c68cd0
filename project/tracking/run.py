"""One MLflow run: opened before training, closed with what became of it, found again later."""

import json
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import mlflow
import mlflow.pytorch
import numpy as np
import torch
import yaml
from filelock import FileLock, Timeout
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag, ViewType
from mlflow.entities import Run as MlflowRun
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.types import Schema, TensorSpec
from torch import nn

from project.config.check import Config, check
from project.config.compose import Node
from project.core.arrays import Array
from project.core.errors import Pruned, TrainingError, UserError
from project.core.signals import Stopped, defer_stop_signals
from project.data.module import DataModule
from project.data.ratios import SPLITS
from project.tracking import lineage
from project.tracking.logger import RunLogger
from project.tracking.store import checkpoint_folder, open_store, tracking_uri
from project.tracking.writer import MetricWriter

MAX_PARAM = 6000  # characters; MLflow cuts what is longer without a word
OWN_DATA = {"images": "root", "table": "file"}  # key of the folder or file, by source
CONTRACT = "contract"  # key of a saved model's metadata
MAX_BATCH = 100  # params or tags that MLflow takes in one call
log = logging.getLogger(__name__)


class Run:
    """A run in MLflow and its folder of checkpoints.

    As a context it is RUNNING; it ends as FINISHED, KILLED (``Stopped``; ``Pruned`` with a tag) or
    FAILED (anything else).

    Args:
        run_id: of an existing run.
    """

    def __init__(self, run_id: str) -> None:
        self.id = run_id
        self.folder = checkpoint_folder(run_id)
        self.client, self.experiment_id = open_store()

    @classmethod
    def create(cls, config: Config, data: DataModule | None, tags: Mapping[str, str]) -> "Run":
        """Opens a new run; ``log_start``, inside its context, logs what is known before training.

        Args:
            config: of the run.
            data: its data; None if they couldn't be built.
            tags: further tags.
        """
        client, experiment_id = open_store()
        model, source = name_of(config.model), data_name(config.data)
        all_tags = {
            "mlflow.runName": f"{model}-{source}",
            "model": model,
            "data": source,
            **lineage.source_tags(),
            **tags,
        }
        if data is not None:
            all_tags |= {
                "split.fingerprint": data.fingerprint,
                "split.test_fingerprint": data.fingerprints["test"],
                **{f"split.duplicates.{pair}": str(n) for pair, n in data.duplicates.items()},
            }
        created = client.create_run(experiment_id, tags=all_tags)
        run = cls(created.info.run_id)
        run.folder.mkdir(parents=True, exist_ok=True)
        return run

    @classmethod
    @contextmanager
    def begin(
        cls, config: Config, data: DataModule | None, tags: Mapping[str, str]
    ) -> Iterator["Run"]:
        """A new run, as its context; see ``create``.

        A stop comes before it is made or when it can be closed: else it would be RUNNING for ever.
        """
        with ExitStack() as stack:
            with defer_stop_signals():
                run = stack.enter_context(cls.create(config, data, tags))
            yield run

    def log_start(self, config: Config, data: DataModule) -> None:
        """Logs config, code, packages and data; the config first, as a resume needs it."""
        self.log_text(yaml.safe_dump(config.model_dump(), sort_keys=False), "config.yaml")
        self.log_params(config.flatten())
        self.log_text(lineage.command_line() + "\n", "command.txt")
        self.log_text(lineage.packages(), "requirements.txt")
        if diff := lineage.uncommitted():
            self.log_text(diff, "uncommitted.diff")
        split = {
            "fingerprint": data.fingerprint,
            "sha256": data.fingerprints,
            **{name: getattr(data.split, name).tolist() for name in SPLITS},
        }
        inputs = lineage.dataset_inputs(data, data_name(config.data))
        self.client.log_inputs(self.id, datasets=inputs)
        self.log_text(json.dumps(split), "split.json")

    @property
    def has_start(self) -> bool:
        """Whether ``log_start`` was done to its end, whose last artifact is the split."""
        return any(file.path == "split.json" for file in self.client.list_artifacts(self.id))

    def __enter__(self) -> Self:
        before = self.mlflow_run.data.tags
        # A process of a sweep that was stopped a moment ago may still be closing its run.
        patience = 60 if "mlflow.parentRunId" in before else 0
        self._lock = FileLock(self.folder / "lock", timeout=patience)
        try:
            self._lock.acquire()
        except Timeout:
            raise UserError(f"resume: {self.id}: this run is being trained right now") from None
        self.client.update_run(self.id, status="RUNNING")
        for tag in {"failure", "pruned"} & set(before):  # of an earlier attempt
            self.client.delete_tag(self.id, tag)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.close(error)
        finally:
            self._lock.release()

    def close(self, error: BaseException | None) -> None:
        """Says in MLflow how the run has ended.

        Args:
            error: that ended it; None if it was done.
        """
        status = "FINISHED"
        if isinstance(error, (Stopped, KeyboardInterrupt, Pruned)):
            status = "KILLED"
        elif error is not None:
            status = "FAILED"
        try:
            if isinstance(error, Pruned):
                self.set_tags({"pruned": error})
            elif error is not None:
                self.set_tags({"failure": describe(error)})
            self.client.set_terminated(self.id, status)
        except MlflowException as lost:  # the server is away: what was trained is in the folder
            message = f"MLflow doesn't answer ({lost}): run {self.id} can be resumed when it does"
            if error is None:
                raise TrainingError(" ".join(message.split())) from None
            log.error(message)

    @contextmanager
    def metric_logger(self, enabled: bool = True) -> Iterator[RunLogger | None]:
        """A Lightning logger whose metrics are all sent when the context ends, however it ends.

        Args:
            enabled: else gives None, for the processes that don't log.
        """
        if not enabled:
            yield None
            return
        writer = MetricWriter(
            self.client,
            self.id,
            self.folder / "metrics.jsonl",
            sample=system_metrics(self.id, self.mlflow_run.info.start_time / 1000),
        )
        try:
            yield RunLogger(self.id, writer)
        except BaseException:
            writer.close()
            raise
        if not writer.close():
            raise TrainingError(
                f"MLflow doesn't answer: run {self.id} can be resumed when it does, "
                f"{self.folder} keeps its metrics"
            )

    @property
    def mlflow_run(self) -> MlflowRun:
        """The run as MLflow has it now."""
        return self.client.get_run(self.id)

    @property
    def best_checkpoint(self) -> Path:
        """The weights with the best score on val."""
        return self.folder / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """The state at the end of the last whole epoch."""
        return self.folder / "last.ckpt"

    def config(self) -> Config:
        """The config that the run was started with.

        Raises:
            UserError: there is none, or what a config may hold has changed since.
        """
        return check(self.stored_config())

    def stored_config(self) -> Node:
        """The config as the run has logged it, whatever today's code expects of one.

        Raises:
            UserError: there is none.
        """
        try:
            path = mlflow.artifacts.download_artifacts(
                run_id=self.id, artifact_path="config.yaml", tracking_uri=tracking_uri()
            )
        except (MlflowException, OSError):
            raise UserError(
                f"run: {self.id}: it was stopped before its config was saved: expected another run"
            ) from None
        stored: Node = yaml.safe_load(Path(path).read_text())
        return stored

    def history(self, key: str) -> tuple[Array, Array]:
        """Steps and values of a metric, in order; the later value where a step was done twice."""
        points = self.client.get_metric_history(self.id, key)
        values = {p.step: p.value for p in sorted(points, key=lambda p: (p.step, p.timestamp))}
        return np.array(list(values), dtype=np.int64), np.array(list(values.values()))

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Logs metrics at once; the training loop uses the writer instead."""
        now = time.time_ns() // 1_000_000
        points = [Metric(key, value, now, step) for key, value in metrics.items()]
        self.client.log_batch(self.id, metrics=points)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Sets tags, values as text."""
        self.client.log_batch(self.id, tags=[RunTag(k, str(v)) for k, v in tags.items()])

    def log_text(self, text: str, file: str) -> None:
        """Saves text as an artifact."""
        self.client.log_text(self.id, text, file)

    def log_files(self, folder: Path, name: str) -> None:
        """Saves the files of a folder as artifacts, in a folder of that name."""
        self.client.log_artifacts(self.id, str(folder), name)

    def log_figures(self, figures: Iterable[tuple[str, Figure]]) -> None:
        """Saves figures as PNG under ``figures/``."""
        for name, figure in figures:
            self.client.log_figure(self.id, figure, f"figures/{name}.png", save_kwargs={"dpi": 120})

    def load_figure(self, name: str) -> Any:
        """A figure that was logged, by a name such as ``learning_curves``: a PIL image."""
        with use_tracking_uri():
            return mlflow.artifacts.load_image(f"runs:/{self.id}/figures/{name}.png")

    def log_model(
        self,
        predictor: nn.Module,
        example: Array,
        example_output: Array,
        step: int,
        contract: Mapping[str, Any],
    ) -> None:
        """Logs a model in the pt2 format, for any batch size, without pickled code.

        Args:
            predictor: in eval mode, on the CPU.
            example: a batch of two or more raw inputs; a batch of one would freeze the batch size.
            example_output: its predictions.
            step: after which its weights were saved; the metrics of that step become the model's.
            contract: what it takes and gives, kept with it; plain values.
        """
        signature = ModelSignature(
            Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]))]),
            Schema([TensorSpec(example_output.dtype, (-1, *example_output.shape[1:]))]),
        )
        logged = self.client.create_logged_model(
            self.experiment_id, "model", source_run_id=self.id, params=self.mlflow_run.data.params
        )
        with use_tracking_uri(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.models.Model.log(
                None,
                model_id=logged.model_id,
                flavor=mlflow.pytorch,
                run_id=self.id,
                step=step,
                pytorch_model=predictor,
                signature=signature,
                input_example=example,
                serialization_format="pt2",
                metadata={CONTRACT: dict(contract)},
                validate_serving_input=False,  # it would load the model once more
                pip_requirements=[
                    f"torch=={torch.__version__.partition('+')[0]}",
                    f"numpy=={np.__version__}",
                    f"mlflow=={mlflow.__version__}",
                ],
            )

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Logs params; values as text."""
        entities = [Param(key, str(value)[:MAX_PARAM]) for key, value in params.items()]
        for start in range(0, len(entities), MAX_BATCH):
            self.client.log_batch(self.id, params=entities[start : start + MAX_BATCH])


def system_metrics(run_id: str, started: float) -> Callable[[], tuple[dict[str, float], int]]:
    """Makes a function that samples MLflow's system metrics: names, values and a step.

    MLflow's own thread asks the store for the whole run at each sample, which slows training.

    Args:
        run_id: of the run.
        started: when it was, in seconds since 1970; the step is the seconds since then.
    """
    monitor = SystemMetricsMonitor(run_id, tracking_uri=tracking_uri())
    monitor.collect_metrics()  # the share of a CPU in use is since the last time

    def sample() -> tuple[dict[str, float], int]:
        monitor.collect_metrics()
        metrics = {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
        for each in monitor.monitors:
            each.clear_metrics()
        return metrics, int(time.time() - started)

    return sample


@contextmanager
def use_tracking_uri() -> Iterator[None]:
    """Points MLflow's global functions to the store, and leaves them as they were."""
    variable = os.environ.get("MLFLOW_TRACKING_URI")
    previous = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(tracking_uri())  # sets the variable as well
    try:
        yield
    finally:
        mlflow.set_tracking_uri(previous)
        if variable is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ["MLFLOW_TRACKING_URI"] = variable


def find_run(run: str, key: str = "run") -> Run:
    """Finds a run by its id, or ``last``.

    Args:
        run: what the user gave.
        key: where, for the error message.

    Raises:
        UserError: there is no such run, or more than one.
    """
    client, experiment_id = open_store()
    if run == "last":
        # Not the parent of a sweep, which has no data of its own.
        latest = client.search_runs(
            [experiment_id],
            "tags.`split.fingerprint` != ''",
            order_by=["start_time DESC"],
            max_results=1,
        )
        if not latest:
            raise UserError(f"{key}: last: there is no run yet: expected `make train` before")
        return Run(latest[0].info.run_id)
    try:
        found = client.get_run(_complete(client, experiment_id, run, key))
    except MlflowException:
        raise UserError(
            f"{key}: {run}: there is no such run in {tracking_uri()}: expected a run id, or last"
        ) from None
    if found.info.lifecycle_stage != "active" or "split.fingerprint" not in found.data.tags:
        raise UserError(
            f"{key}: {run}: it was deleted, or trained nothing itself, as the parent of a search "
            "or comparison: expected another run"
        )
    return Run(found.info.run_id)


def _complete(client: MlflowClient, experiment_id: str, run: str, key: str) -> str:
    """The whole id of a run of which the beginning was given, as `make runs` shows it."""
    if not re.fullmatch("[0-9a-f]{6,31}", run):
        return run
    found = client.search_runs([experiment_id], f"attributes.run_id LIKE '{run}%'", max_results=2)
    if len(found) > 1:
        raise UserError(f"{key}: {run}: several runs begin like that: expected more of the id")
    return str(found[0].info.run_id) if found else run


def describe(error: BaseException) -> str:
    """An exception in a line, short enough for a tag."""
    return f"{type(error).__name__}: {error}".strip()[:5000]


def name_of(node: Mapping[str, Any]) -> str:
    """The short name of what a config node builds: ``project.models.cnn.CNN`` is ``cnn``."""
    return str(node["_target_"]).rpartition(".")[2].lower()


def data_name(node: Mapping[str, Any]) -> str:
    """The short name of a data set: of its source, or of the user's own folder or file."""
    source = name_of(node)
    if source not in OWN_DATA:
        return source
    name = Path(node[OWN_DATA[source]]).resolve().stem
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or source


def check_same_data(run: Run, data: DataModule) -> None:
    """Makes sure that the data are what they were.

    Raises:
        UserError: the fingerprint of the splits differs from the run's.
    """
    stored = run.mlflow_run.data.tags["split.fingerprint"]
    if data.fingerprint != stored:
        raise UserError(
            f"run: {run.id}: its data have changed, they have the fingerprint "
            f"{data.fingerprint[:12]}: expected {stored[:12]}"
        )


def record_opening(run: Run) -> int:
    """Records that the run opens its test split; how often any run has now opened it."""
    mine = int(run.mlflow_run.data.tags.get("test.openings", 0)) + 1
    run.set_tags({"test.openings": mine})
    total = count_openings(run)
    run.set_tags({"test.openings_by_all_runs": total})
    return total


def count_openings(run: Run) -> int:
    """Counts how often any run has opened the test split that this run has."""
    total, token = 0, None
    fingerprint = run.mlflow_run.data.tags["split.test_fingerprint"]
    # Deleted ones too: what was seen has been seen.
    found = run.client.search_experiments(view_type=ViewType.ALL)
    experiments = [experiment.experiment_id for experiment in found]
    while True:
        page = run.client.search_runs(
            experiments,
            f"tags.`split.test_fingerprint` = '{fingerprint}'",
            run_view_type=ViewType.ALL,
            page_token=token,
        )
        total += sum(int(each.data.tags.get("test.openings", 0)) for each in page)
        token = page.token
        if not token:
            return total
