"""The shipped notebook runs and shows its results; as a script, this file executes it again."""

import os
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import project
from project.api import train
from project.core.errors import UserError

NOTEBOOK = project.ROOT / "docs" / "quickstart.ipynb"


def execute(store: Path, notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Runs all cells in a kernel of its own."""
    before = dict(os.environ)
    os.environ |= {
        "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db",
        "PYTHONPATH": str(project.ROOT),
    }
    try:
        client = NotebookClient(notebook, timeout=200, kernel_name="python3")
        client.execute(cwd=str(store))
    finally:
        os.environ.clear()
        os.environ |= before
    return notebook


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_the_notebook_is_shipped_executed_and_without_errors() -> None:
    shipped = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(shipped)
    assert all(cell.execution_count for cell in shipped.cells if cell.cell_type == "code")
    assert not [output for output in outputs(shipped) if output.output_type == "error"]
    images = [output for output in outputs(shipped) if "image/png" in output.get("data", {})]
    assert len(images) == 2
    assert NOTEBOOK.stat().st_size < 400_000
    text = NOTEBOOK.read_text()
    assert str(Path.home()) not in text
    assert str(project.ROOT) not in text


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    fresh = execute(tmp_path, nbformat.read(NOTEBOOK, as_version=4))
    assert not [output for output in outputs(fresh) if output.output_type == "error"]
    text = str([output.get("text", output.get("data")) for output in outputs(fresh)])
    assert "val/accuracy 0.9" in text
    assert "holds" in text
    assert "digits-mlp" in text
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".db"]


def test_a_mistake_in_a_notebook_names_the_key_and_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"model\.dropot: unknown key: did you mean 'dropout'\?"):
        train("model.dropot=0.3")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        executed = execute(Path(folder), nbformat.read(NOTEBOOK, as_version=4))
        for cell in executed.cells:
            cell.metadata.pop("execution", None)  # times of day
        text = nbformat.writes(executed).replace(folder, "mlruns")
        NOTEBOOK.write_text(text + "\n")
