"""The command ``compare``: trains variants over seeds, and judges claims about them."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout
from rich.table import Table

from project.compare.analysis import load_analysis
from project.compare.comparison import Comparison, report
from project.compare.plan import Plan
from project.compare.runs import add_measures, make_keys, open_test, train
from project.core.console import stdout
from project.core.errors import UserError
from project.tracking.find import find_by_tags
from project.tracking.run import Run, opened
from project.tracking.store import store_folder
from project.workers.capacity import choose_workers
from project.workers.pool import Pool


def compare(plan: Plan) -> Comparison:
    """Trains variants over several seeds and judges claims about them; re-run to resume.

    Runs that are finished and unchanged are not trained again.

    Args:
        plan: The variants, seeds, measurements and claims.

    Raises:
        UserError: The data, a model or a metric doesn't suit the comparison; nothing was written.
        TrainingError: Not a single run was finished.
    """
    analysis = load_analysis(plan.analysis)
    keys = make_keys(plan, analysis)
    settings = next(iter(plan.configs.values())).trainer
    num_workers, devices = choose_workers(plan.settings.workers, settings, 1, "compare")
    with _open_parent(plan.name) as parent:
        with Pool(min(num_workers, len(keys)), devices) as pool:
            runs, failures = train(plan, keys, parent, pool, devices)
        for variant, of_variant in runs.items():
            if plan.file.opens_test(variant):
                open_test(of_variant)
        add_measures(plan, analysis, runs)
        comparison = Comparison(plan, parent, runs, failures)
        report(comparison, analysis)
    return comparison


@contextmanager
def _open_parent(name: str) -> Iterator[Run]:
    """The MLflow run of a comparison, created on first use; it is RUNNING in the context."""
    tags = {"compare.name": name}
    lock = FileLock(store_folder() / f".compare.{name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        reason = "another process is running it: wait until it has finished"
        raise UserError(f"lesson: {name}: {reason}") from None
    with lock:
        parent = find_by_tags(tags) or Run.create({"mlflow.runName": name, **tags})
        with opened(parent):
            yield parent


def show(comparison: Comparison) -> None:
    """Prints the measured values, the verdicts and the path of the report."""
    file = comparison.plan.file
    table = Table(title=file.title, title_justify="left")
    table.add_column("variant")
    for metric in file.measure:
        table.add_column(metric.replace("/", "/\n"), justify="right", overflow="fold")
    for variant, cells in comparison.means.items():
        table.add_row(variant, *("\n".join(cell).strip() for cell in cells))
    stdout().print(table)
    print()
    for verdict in comparison.verdicts:
        print(verdict)
    for (variant, seed), reason in comparison.failures.items():
        print(f"failed: {variant}, seed {seed}: {reason}")
    print(f"\n  report  {comparison.report}\n  make ui shows run {comparison.parent.id}")
