"""Searches for the best settings with Optuna and tracks every trial in MLflow.

Usage: python -m project.sweep [GROUP=OPTION ...] [KEY=VALUE ...]

  python -m project.sweep model=cnn data=digits sweep.trials=20
  python -m project.sweep data=fashion_mnist search.optimizer.lr.high=0.03 trainer.max_epochs=3
  python -m project.sweep +search.data.batch_size.choices=[64,128] '~search.model.dropout'

The same command goes on with a study that was interrupted; on another machine it joins the study,
if sweep.storage=postgresql://... is an address that both reach.

Keys: sweep.{trials,timeout,workers,devices_per_trial,sampler,pruner,study,storage,top_k,seeds}, the
tree search, and all of `python -m project.train`.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from project.cli.command import run_command
from project.core.errors import UserError
from project.core.signals import stoppable
from project.workers.preload import start_importing

if TYPE_CHECKING:
    from project.config.check import Config
    from project.sweep.search import SweepSettings
    from project.sweep.winner import Winner


def main(arguments: Sequence[str]) -> None:
    """Searches by the arguments of a command line and prints the winner."""
    sweep(*arguments)


def sweep(*overrides: str) -> "Winner":
    """Searches by overrides such as ``sweep.trials=20``, prints the winner and gives it.

    Raises:
        UserError: something doesn't fit; nothing was written.
    """
    start_importing()  # beside the imports of this process
    from project.core.console import say
    from project.sweep.report import log_trials
    from project.sweep.search import open_search
    from project.sweep.winner import (
        close_abandoned_runs,
        find_winner,
        log_winner,
        show,
        train_command,
    )
    from project.tracking.children import opened
    from project.workers.capacity import choose_workers
    from project.workers.pool import Pool

    with stoppable():
        config, settings, tree = _read(overrides)
        num_workers, devices = choose_workers(
            settings.workers, config.trainer, settings.devices_per_trial
        )
        search = open_search(config, settings, tree, devices)
        with opened(search.parent):
            search.release_orphans()
            close_abandoned_runs(search)
            left = max(0, search.study.num_trials - len(search.finished()))
            num_workers = max(1, min(num_workers, max(left, settings.top_k * settings.seeds)))
            say(
                f"study {search.study.name}: {left} of {search.study.num_trials} trials to do, "
                f"{num_workers} workers with {devices} each"
            )
            with Pool(num_workers, devices) as pool:
                search.run(pool, settings.timeout)
                # One process does what follows; another that waits here finds it done.
                with search.study.lock("winner", timeout=24 * 3600):
                    log_trials(search)
                    winner = find_winner(search, pool, settings.top_k, settings.seeds)
                    values = search.space.values(winner.settings[0].trial.params)
                    command = train_command(list(overrides), winner.config, values)
                    log_winner(search, winner, command)
        show(search, winner, command)
    return winner


def _read(overrides: Sequence[str]) -> tuple["Config", "SweepSettings", dict[str, Any]]:
    """The config, how it is searched, and the tree of what is."""
    from project.config.check import check
    from project.config.compose import CONF, compose
    from project.config.schema import validate
    from project.sweep.search import SweepSettings

    node = compose("sweep", overrides)
    model = str(node["model"].get("_target_", "")).rpartition(".")[2].lower()
    has_own = (CONF / "search" / f"{model}.yaml").exists()
    if has_own and not any(line.startswith("search=") for line in overrides):
        node = compose("sweep", [f"search={model}", *overrides])
    settings = validate("sweep", SweepSettings, node.pop("sweep"))
    tree = node.pop("search")
    config = check(node)
    # The default space serves every model, those without dropout too.
    if "dropout" not in config.model and not any("search.model" in line for line in overrides):
        tree.get("model", {}).pop("dropout", None)
    if settings.study is not None and not re.fullmatch(r"[\w.-]{1,100}", settings.study):
        raise UserError(
            f"sweep.study: {settings.study}: expected letters, digits, '-', '_' and '.'"
        )
    return config, settings, tree


if __name__ == "__main__":
    run_command(main, __doc__)
