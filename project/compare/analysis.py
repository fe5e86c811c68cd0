"""What a lesson is given to analyse: the finished runs of its variants."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from matplotlib.figure import Figure

from project.config.check import Config
from project.core.arrays import Array
from project.data.module import DataModule
from project.models.base import Model
from project.reports.run import load_best
from project.tracking.run import Run


@dataclass
class Trained:
    """One finished run of a comparison.

    Attributes:
        variant: name.
        seed: of the run.
        run: in MLflow.
        config: of the run.
        data: of the run; its test split is sealed.
        metrics: the last value of each, by name.
        tags: of the run.
    """

    variant: str
    seed: int
    run: Run
    config: Config
    data: DataModule
    metrics: dict[str, float]
    tags: Mapping[str, str]

    @cached_property
    def model(self) -> Model:
        """With the weights of the best epoch, in eval mode on the CPU."""
        return load_best(self.run, self.config, self.data.spec)

    @cached_property
    def last_weights(self) -> dict[str, torch.Tensor]:
        """Those of the last epoch, by name."""
        saved = torch.load(self.run.last_checkpoint, map_location="cpu", weights_only=True)
        weights: dict[str, torch.Tensor] = saved["state_dict"]
        return weights

    def history(self, key: str) -> tuple[Array, Array]:
        """Steps and values of a metric."""
        return self.run.history(key)


Runs = Mapping[str, Sequence[Trained]]  # by variant; of each one run a seed
Drawn = tuple[str, Figure, str]  # name, figure, and what it shows


@dataclass(frozen=True)
class Analysis:
    """What a lesson adds to its runs.

    Attributes:
        measures: names of the metrics that ``measure`` gives.
        measure: of one run.
        figures: of all runs.
        fits: whether it can look into such a model.
        needs: what that is, for the error message.
    """

    measures: tuple[str, ...] = ()
    measure: Callable[[Trained], Mapping[str, float]] = lambda trained: {}
    figures: Callable[[Runs], Iterator[Drawn]] = lambda runs: iter(())
    fits: Callable[[Model], bool] = lambda model: True
    needs: str = ""
