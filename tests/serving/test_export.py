"""Exported models: same predictions without this project's code, and a correct model card."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conftest import TINY
from scipy.stats import binomtest

from project.cli.commands import COMMANDS
from project.cli.main import call, main
from project.config.build import build_data
from project.core.errors import TrainingError, UserError
from project.evaluate import evaluate
from project.models.contract import Predictor
from project.reports.run import load_best
from project.serving import export as module
from project.serving.export import export
from project.tracking.find import find_run
from project.tracking.models import register
from project.training.results import FitResult


def checkpoint_predictions(run_id: str, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Raw inputs of val and train, and the checkpoint's predictions for them."""
    run = find_run(run_id)
    config = run.config()
    data = build_data(config)
    model = Predictor(load_best(run, config, data.spec)).eval()
    inputs = np.concatenate([data.val.inputs[:], data.train.inputs[:]])[:count]
    with torch.no_grad():
        return inputs, model(torch.from_numpy(inputs)).numpy()


RUNS = {
    "images": TINY,
    "reconstructions": ("model=autoencoder", "trainer.max_epochs=1", "data.limit_train=320"),
    "values": ("data=diabetes", "trainer.max_epochs=3"),
}


@pytest.mark.parametrize("kind", [*RUNS, "rows"])
def test_onnx_predicts_the_same_without_this_project(
    kind: str, train_run: Callable[..., FitResult], table_run: FitResult, tmp_path: Path
) -> None:
    run_id = table_run.run_id if kind == "rows" else train_run(*RUNS[kind]).run_id
    exported = export(run_id, "onnx", str(tmp_path / "out"))
    assert sorted(file.suffix for file in (tmp_path / "out").iterdir()) == [".json", ".md", ".onnx"]
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    inputs, expected = checkpoint_predictions(run_id)
    (argument,) = session.get_inputs()
    for size in (1, 3, 40):
        (predictions,) = session.run(None, {argument.name: inputs[:size]})
        np.testing.assert_allclose(predictions, expected[:size], rtol=1e-4, atol=1e-4)


CLEAN = """
import sys
import numpy as np
import torch
network = torch.export.load(sys.argv[1]).module()
for size in (1, 3, 40):
    inputs, expected = np.load(sys.argv[2])[:size], np.load(sys.argv[3])[:size]
    with torch.no_grad():
        predictions = network(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(predictions, expected, rtol=1e-4, atol=1e-4)
assert not {"project", "lightning", "torchvision", "mlflow"} & set(sys.modules)
"""


@pytest.mark.parametrize("kind", ["images", "rows"])
def test_pt2_predicts_the_same_with_torch_alone(
    kind: str, train_run: Callable[..., FitResult], table_run: FitResult, tmp_path: Path
) -> None:
    run_id = table_run.run_id if kind == "rows" else train_run(*RUNS[kind]).run_id
    exported = export(run_id, "pt2", str(tmp_path / "out"))
    for name, array in zip(("inputs", "expected"), checkpoint_predictions(run_id), strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    arguments = [str(exported.path), str(tmp_path / "inputs.npy"), str(tmp_path / "expected.npy")]
    done = subprocess.run(
        [sys.executable, "-P", "-c", CLEAN, *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_graph_that_differs_is_not_written(
    digits_run: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = module.onnx_session

    def off(path: Path) -> Callable[[np.ndarray], np.ndarray]:
        call = opened(path)
        return lambda inputs: call(inputs) + 2e-4

    monkeypatch.setattr(module, "onnx_session", off)
    with pytest.raises(TrainingError, match=r"differs from the checkpoint by 0\.0002: expected at"):
        export(digits_run.run_id, "onnx", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_card_is_correct(tmp_path: Path, train_run: Callable[..., FitResult]) -> None:
    result = train_run(*TINY, "data.splits.seed=31")
    run = find_run(result.run_id)
    data = build_data(run.config())
    before = export(result.run_id, "onnx", str(tmp_path)).folder / "card.md"
    text = before.read_text()
    assert "The test split has not been opened" in text
    assert "| test/" not in text
    assert data.fingerprint in text
    rows = dict(re.findall(r"^\| (val/\w+) \| ([\d.]+) \|", text, re.M))
    assert float(rows["val/accuracy"]) == pytest.approx(result.metrics["accuracy"], rel=1e-3)
    num_right = round(result.metrics["accuracy"] * len(data.val))
    interval = binomtest(num_right, len(data.val)).proportion_ci(0.95, method="wilson")
    assert f"{interval.low:.4g} to {interval.high:.4g}" in text
    least = min(data.spec.class_counts)
    assert f"has the fewest training samples: {least}." in text
    assert "N x 8 x 8 x 1 uint8" in text
    evaluation = evaluate(result.run_id)
    after = export(result.run_id, "onnx", str(tmp_path)).folder / "card.md"
    assert evaluation.interval is not None
    low, high = evaluation.interval
    row = f"| test/accuracy | {evaluation.metrics['accuracy']:.4g} | {low:.4g} to {high:.4g} |"
    assert row in after.read_text()
    assert "opened 1 times" in after.read_text()
    logged = {file.path for file in run.client.list_artifacts(run.id, "export/onnx")}
    assert logged == {
        f"export/onnx/{name}" for name in ("card.md", "contract.json", "digits-cnn.onnx")
    }


def test_the_card_s_code_runs(table_run: FitResult, tmp_path: Path) -> None:
    folder = export(table_run.run_id, "onnx", str(tmp_path)).folder
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "card.md").read_text(), re.S)
    inputs, expected = checkpoint_predictions(table_run.run_id)
    names: dict[str, object] = {"onnxruntime": onnxruntime, "inputs": inputs}
    exec(code.replace('"wine-mlp', f'"{folder}/wine-mlp'), names)
    np.testing.assert_allclose(names["predictions"], expected, atol=1e-4)  # type: ignore[arg-type]
    contract = json.loads((folder / "contract.json").read_text())
    assert contract["columns"][-1] == {
        "name": "shade", "categories": ["", "high", "low"], "fill": 0.0, "is_flagged": False,
    }  # fmt: skip


def test_the_error_of_values_has_an_interval(diabetes_run: FitResult, tmp_path: Path) -> None:
    text = (export(diabetes_run.run_id, "onnx", str(tmp_path)).folder / "card.md").read_text()
    assert len(re.findall(r"^\| val/\w+ \| \S+ \| \S+ to \S+ \|$", text, re.M)) == 4
    rows = re.findall(r"\| val/rmse \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|", text)
    value, low, high = map(float, rows[0])
    assert low < value < high
    assert value == pytest.approx(diabetes_run.metrics["rmse"], rel=1e-3)


def test_the_card_of_an_autoencoder_speaks_of_images(
    tmp_path: Path, train_run: Callable[..., FitResult]
) -> None:
    result = train_run(*RUNS["reconstructions"])
    text = (export(result.run_id, "pt2", str(tmp_path)).folder / "card.md").read_text()
    assert "images without their labels" in text
    assert "fewest training samples" not in text
    assert "assigned to one of the classes" not in text
    rows = re.findall(r"^\| val/(\w+) \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|$", text, re.M)
    assert {name for name, *_ in rows} == set(result.metrics)
    for name, value, low, high in rows:
        assert float(low) < float(value) < float(high), name


def test_the_card_counts_openings_by_other_runs(
    tmp_path: Path, train_run: Callable[..., FitResult]
) -> None:
    first, second = (train_run(*TINY, "data.splits.seed=32", f"seed={n}") for n in (1, 2))
    evaluate(first.run_id)
    text = (export(second.run_id, "pt2", str(tmp_path)).folder / "card.md").read_text()
    assert "The test split has been opened 1 times, by all runs together." in text


def test_a_registered_name_is_exported(digits_run: FitResult, tmp_path: Path) -> None:
    registration = register(find_run(digits_run.run_id), "accuracy")
    for version in (registration.version, "latest"):
        exported = export(f"models:/{registration.name}/{version}", output=str(tmp_path / version))
        assert digits_run.run_id in (exported.folder / "card.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "run: missing: expected a value"),
        (["run=none"], "run: none: there is no such run"),
        (["run=models:/none@champion"], "run: models:/none@champion: there is no such model"),
        (["run=last", "format=tflite"], "format: 'tflite': expected 'onnx' or 'pt2'"),
        (["run=last", "fromat=onnx"], "fromat: unknown key: did you mean 'format'?"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, digits_run: FitResult) -> None:
    with pytest.raises(UserError) as caught:
        call(COMMANDS["export"], arguments)
    assert str(caught.value).startswith(message)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"^format: onnx: onnxscript is missing: expected pip ins"):
        export("last", "onnx")


def test_the_command_prints_the_files_and_the_difference(
    digits_run: FitResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", f"run={digits_run.run_id}", "format=pt2", f"output={tmp_path}"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path}/digits-cnn.pt2\n" in printed
    assert f"{tmp_path}/card.md\n" in printed
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["folder"] == str(tmp_path)
    assert 0 <= record["difference"] <= 1e-4
