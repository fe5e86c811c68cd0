"""Samplers and pruners of a sweep, as functions of its seed and of the number of a trial."""

from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GridSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study
from optuna.trial import FrozenTrial

from project.sweep.plan import PrunerName, SamplerName

FACTOR = 3  # Hyperband's reduction factor


def make_sampler(
    name: SamplerName, seed: int, number: int, grid: Mapping[str, Sequence[Any]]
) -> BaseSampler:
    """Makes the sampler that proposes one trial.

    Its seed depends on the number of the trial: no two workers draw the same values, and an
    interrupted study resumes as if it had not been interrupted.

    Args:
        name: Name of the sampler.
        seed: Seed of the search.
        number: Number of the trial, from 0.
        grid: Values of each key, for ``grid``.
    """
    own_seed = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
    if name == "grid":
        return _Grid(grid, seed)  # all trials share one order of the grid
    if name == "qmc":
        return QMCSampler(scramble=True, seed=seed)  # all trials share one sequence
    if name == "cmaes":
        return CmaEsSampler(seed=own_seed)
    if name == "random":
        return RandomSampler(own_seed)
    # Hyperband splits the trials into brackets, each modelled separately: with Optuna's
    # default of ten random trials per bracket, a short search would be random throughout.
    return TPESampler(n_startup_trials=5, seed=own_seed)


def make_pruner(name: PrunerName, max_epochs: int) -> BasePruner:
    """Makes a pruner whose resource is the number of epochs."""
    if name == "hyperband":
        return _Hyperband(min_resource=1, max_resource=max_epochs, reduction_factor=FACTOR)
    if name == "median":
        return MedianPruner(n_startup_trials=5, n_warmup_steps=max_epochs // 5)
    return NopPruner()


def pruning_epochs(name: PrunerName, max_epochs: int) -> Collection[int]:
    """Returns the epochs, from 1, after which a pruner may end a trial: Hyperband's rungs."""
    if name == "hyperband":
        return {FACTOR**rung for rung in range(max_epochs) if FACTOR**rung <= max_epochs}
    return range(1, max_epochs + 1) if name == "median" else ()


class _Grid(GridSampler):
    def after_trial(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: Optuna's method stops ``study.optimize``, which is not used here."""


class _Hyperband(HyperbandPruner):
    # Optuna derives the bracket from the study's name as well, and has no public option against
    # it; here a search depends on its seed only.
    def _get_bracket_id(self, study: Study, trial: FrozenTrial) -> int:
        nameless: Any = SimpleNamespace(study_name="")
        return super()._get_bracket_id(nameless, trial)
