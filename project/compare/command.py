"""The command ``compare``: trains variants over seeds, and judges claims about them."""

from rich.table import Table

from project.compare.analysis import load_analysis
from project.compare.comparison import Comparison, add_measures, judge_all, open_parent, open_test
from project.compare.plan import Plan
from project.compare.report import means, report, report_path
from project.compare.variants import make_keys, train
from project.core.console import stdout
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
    with open_parent(plan.name) as parent:
        with Pool(min(num_workers, len(keys)), devices) as pool:
            runs, failures = train(plan, keys, parent, pool, devices)
        for variant, of_variant in runs.items():
            if plan.file.opens_test(variant):
                open_test(of_variant)
        add_measures(plan, analysis, runs)
        values, verdicts = judge_all(plan, runs)
        path = report_path(plan.name)
        comparison = Comparison(plan, parent, runs, values, verdicts, failures, path)
        report(comparison, analysis)
    return comparison


def show(comparison: Comparison) -> None:
    """Prints the measured values, the verdicts and the path of the report."""
    plan = comparison.plan
    table = Table(title=plan.file.title, title_justify="left")
    table.add_column("variant")
    for metric in plan.file.measure:
        table.add_column(metric.replace("/", "/\n"), justify="right", overflow="fold")
    for variant, cells in means(comparison).items():
        table.add_row(variant, *("\n".join(cell).strip() for cell in cells))
    stdout().print(table)
    print()
    for verdict in comparison.verdicts:
        print(verdict)
    for (variant, seed), reason in comparison.failures.items():
        print(f"failed: {variant}, seed {seed}: {reason}")
    print(f"\n  report  {comparison.report}\n  make ui shows run {comparison.parent.id}")
