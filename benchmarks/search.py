"""A search as one would write it by hand, and the cost of a sweep besides training.

The plain loop is Optuna's and Lightning's own: one process, a new Trainer per trial, no pruning,
fp32, no tracking; same network, data, augmentation, optimiser, schedule and search space as
`make sweep`.
"""

import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmarks.loop import Nchw  # imports the project, which must precede lightning

ROOT = Path(__file__).resolve().parent.parent


def search_by_hand(overrides: list[str], num_trials: int, seed: int) -> dict[str, Any]:
    """Searches with the plain loop: seconds from the first trial's start, and scores in order."""
    import lightning.pytorch as pl
    import optuna
    import torch.nn.functional as F
    from lightning.pytorch.callbacks import ModelCheckpoint
    from torchmetrics.classification import MulticlassAccuracy

    from project.config.build import build_data, build_model
    from project.config.check import check
    from project.sweep.plan import read_plan

    plan = read_plan([*overrides, f"seed={seed}"])["plan"]
    config, space, data = plan.config, plan.space, build_data(plan.config)
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    class Plain(pl.LightningModule):
        def __init__(self, changed: Any) -> None:
            super().__init__()
            self.model = build_model(changed, data.spec)
            self.layout = Nchw()
            self.accuracy = MulticlassAccuracy(data.spec.num_outputs, average="micro")

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = F.cross_entropy(self.model(self.layout(batch[0])), batch[1])
            self.log("train/loss", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.accuracy(self.model(self.layout(batch[0])), batch[1])
            self.log("val/accuracy", self.accuracy)

        def configure_optimizers(self) -> Any:
            optimizer = self.model.recipe.optimizer(self.model.parameter_groups())
            steps = int(self.trainer.estimated_stepping_batches)
            scheduler = self.model.recipe.scheduler(optimizer, steps)
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def train_trial(trial: optuna.Trial) -> float:
        pl.seed_everything(seed, verbose=False)
        model = Plain(check(space.apply(config, trial.params)))
        with TemporaryDirectory() as folder:
            best = ModelCheckpoint(folder, monitor="val/accuracy", mode="max")
            trainer = pl.Trainer(
                max_epochs=config.trainer.max_epochs,
                accelerator=config.trainer.accelerator,
                devices=1,
                logger=False,
                callbacks=[best],
                use_distributed_sampler=False,
                num_sanity_val_steps=0,
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            loader = data.train_dataloader()
            trainer.fit(model, loader, data.val_dataloader()[0])
            assert best.best_model_score is not None
            scores.append((perf_counter() - started, best.best_model_score.item()))
            return scores[-1][1]

    scores: list[tuple[float, float]] = []
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    started = perf_counter()
    for _ in range(num_trials):
        trial = study.ask(space.distributions)
        study.tell(trial, train_trial(trial))
    return {"seconds": perf_counter() - started, "scores": scores}


def search_by_sweep(overrides: list[str], num_trials: int, seed: int) -> dict[str, Any]:
    """Searches with `project.sweep`: the same numbers, and the pauses between trials."""
    import optuna

    with TemporaryDirectory() as folder:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        subprocess.run(
            [
                *(sys.executable, "-m", "project", "sweep", *overrides, f"seed={seed}"),
                *(f"sweep.trials={num_trials}", "sweep.top_k=0", "sweep.study=bench"),
            ],
            cwd=ROOT,
            env=environment,
            check=True,
            capture_output=True,
        )
        study = optuna.load_study(study_name="bench", storage=f"sqlite:///{folder}/optuna.db")
        trials = [t for t in study.trials if t.datetime_start and t.datetime_complete]
    began = min(t.datetime_start for t in trials if t.datetime_start)
    ends = sorted((t.datetime_complete, t.value) for t in trials if t.datetime_complete)
    times = [(end - began).total_seconds() for end, _ in ends]
    scores = [(at, value) for at, (_, value) in zip(times, ends, strict=True) if value is not None]
    return {"seconds": times[-1], "scores": scores}


def cost_of_a_trial(overrides: list[str], num_trials: int, seed: int) -> dict[str, Any]:
    """Runs trials in this process and times everything but the training.

    Returns:
        Seconds per trial by part and as a whole, and from a trial's last step to the next one's
        first.
    """
    from optuna.trial import TrialState

    import project.train
    from project.config.check import check
    from project.core.errors import Pruned
    from project.models.base import Model
    from project.sweep.plan import read_plan
    from project.sweep.search import Search
    from project.sweep.setup import open_search
    from project.sweep.study import Study
    from project.tracking.logger import RunLogger
    from project.tracking.run import Run
    from project.training.devices import Devices

    spent: dict[str, float] = defaultdict(float)

    def timed(kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            begin = perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[kind] += perf_counter() - begin

        return wrapper

    for name in ("claim", "report", "tell", "store_reports"):
        setattr(Study, name, timed("study store", getattr(Study, name)))
    Search._log_progress = timed("tracking", Search._log_progress)  # type: ignore[method-assign]
    Run.create = timed("tracking", Run.create)  # type: ignore[method-assign]
    for name in ("close", "log_start"):
        setattr(Run, name, timed("tracking", getattr(Run, name)))

    def flush(self: RunLogger) -> bool:
        if threading.current_thread() is not self._thread:
            return send(self)  # at a run's end, which is timed as a whole
        return bool(timed("metrics sent during training", send)(self))

    send = RunLogger.flush
    RunLogger.flush = flush  # type: ignore[method-assign]
    pauses: list[float] = []
    last = 0.0

    def mark(self: Model, outputs: Any, batch: Any, batch_idx: int) -> None:
        nonlocal last
        original(self, outputs, batch, batch_idx)
        if self.trainer.global_step == 1 and last:
            pauses.append(perf_counter() - last)
        last = perf_counter()

    original = Model.on_train_batch_end
    Model.on_train_batch_end = mark  # type: ignore[method-assign]
    with TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        settings = (f"sweep.trials={num_trials}", "sweep.pruner=none")
        plan = read_plan([*overrides, f"seed={seed}", *settings])["plan"]
        search = open_search(plan, Devices("cpu", 1))
        for number in range(num_trials):
            if number == 1:  # the first one warms up
                spent.clear()
                began = perf_counter()
            job = search.take()
            assert job is not None
            changed = check(job.config)
            watch = lambda epoch, score: search.study.report(job.name, epoch, score)  # noqa: B023,E731
            try:
                result = project.train.train(
                    changed, None, job.tags, should_stop=watch, log_model=False
                )
                search.study.tell(job.name, TrialState.COMPLETE, result.score)
            except Pruned:
                search.study.tell(job.name, TrialState.PRUNED)
            search._log_progress()
    count = num_trials - 1
    parts = {kind: seconds / count for kind, seconds in spent.items()}
    return {"parts": parts, "trial": (perf_counter() - began) / count, "pauses": pauses[1:]}
