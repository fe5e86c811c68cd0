"""Counts how often each sealed test set was opened."""

from mlflow.entities import ViewType

from project.tracking.find import search_runs
from project.tracking.run import Run


def record_opening(run: Run) -> int:
    """Records that the run opens its test split; returns the openings of that split by all runs."""
    openings = int(run.mlflow_run.data.tags.get("test.openings", 0)) + 1
    run.set_tags({"test.openings": openings})
    total = count_openings(run)
    run.set_tags({"test.openings_by_all_runs": total})
    return total


def count_openings(run: Run) -> int:
    """Counts how often any run has opened the test split of this run."""
    fingerprint = run.mlflow_run.data.tags["split.test_fingerprint"]
    # Count deleted runs and experiments as well: they opened the test set too.
    experiments = run.client.search_experiments(view_type=ViewType.ALL)
    runs = search_runs(
        run.client,
        [each.experiment_id for each in experiments],
        {"split.test_fingerprint": fingerprint},
        run_view_type=ViewType.ALL,
    )
    return sum(int(each.data.tags.get("test.openings", 0)) for each in runs)
