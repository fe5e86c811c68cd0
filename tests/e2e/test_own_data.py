"""A user's own images and table, from inspecting the data to exporting the model."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import configure
from data.own_data import write_classes
from sklearn.datasets import load_breast_cancer

from project import sweep
from project.api import train
from project.cli.main import main
from project.data.images import cache
from project.evaluate import evaluate
from project.reports.data import describe_data, show
from project.serving.export import export
from project.serving.predict import predict

THEMES = [
    path
    for path in (Path("/usr/share/icons/Tango/32x32"), Path("/usr/share/icons/Adwaita/16x16"))
    if path.is_dir()
]
SWEPT = ("sweep.trials=2", "sweep.workers=1", "sweep.top_k=1", "sweep.seeds=1")


@pytest.fixture
def image_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Icons by category, with transparency and links; made ones where no theme is installed."""
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "cache")
    folder = tmp_path / "my icons"
    if not THEMES:
        return write_classes(folder, 20)
    shutil.copytree(THEMES[0], folder)
    for each in folder.iterdir():
        if len(list(each.iterdir())) < 15:
            shutil.rmtree(each)
    return folder


def use_all(
    overrides: tuple[str, ...], inputs: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> pd.DataFrame:
    """Looks, trains, searches, evaluates, predicts and exports; gives the predictions."""
    show(describe_data(configure(*overrides)))
    assert "train" in capsys.readouterr().out
    result = train(*overrides, "trainer.max_epochs=3")  # type: ignore[operator]
    assert evaluate(result.run_id).num_openings == 1
    winner = sweep(*overrides, "trainer.max_epochs=2", *SWEPT)  # type: ignore[operator]
    name = f"models:/{winner.registration.name}@champion"
    answers = predict(name, inputs).table
    exported = export(name, "onnx", str(folder / "export"))
    assert "opened 2 times" in (exported.folder / "card.md").read_text()
    assert main(["runs"]) == 0
    assert f"of {winner.registration.name}" in capsys.readouterr().out
    return answers


@pytest.mark.slow
def test_image_folder_from_the_first_look_to_the_export(
    image_folder: Path, tmp_path: Path, own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = (
        "data=images",
        f"data.root='{image_folder}'",
        "data.image_size=16",
        "model.width=8",
    )
    answers = use_all(overrides, str(image_folder), tmp_path, capsys)
    assert len(answers) == len([*image_folder.rglob("*.png")])
    assert answers["prediction"].notna().all()
    assert set(answers["prediction"]) <= {each.name for each in image_folder.iterdir()}


@pytest.mark.slow
def test_a_table_from_the_first_look_to_the_export(
    tmp_path: Path, own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cancer = load_breast_cancer(as_frame=True)
    frame = cancer.frame.assign(target=cancer.target_names[cancer.target])
    frame.to_csv(tmp_path / "cancer.csv", index=False)
    file = str(tmp_path / "cancer.csv")
    overrides = ("data=table", f"data.file={file}", "data.target=target")
    answers = use_all(overrides, file, tmp_path, capsys)
    assert (answers["prediction"] == frame["target"]).mean() > 0.9
