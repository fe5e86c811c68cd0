"""Trained models shared by the tests of serving."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import configure
from data.own_data import write_classes
from serving.client import Client, serve_in_thread
from sklearn.datasets import load_wine

from project.data.images import cache
from project.train import train
from project.training.results import FitResult


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("images") / "three colours", 20)


@pytest.fixture(scope="session")
def images_run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "FOLDER", tmp_path_factory.mktemp("cache"))
        return train(
            configure(
                "data=images",
                f"data.root='{folder}'",
                "data.image_size=16",
                "model.width=8",
                "trainer.max_epochs=8",
                "optimizer.lr=0.01",
            )
        )


@pytest.fixture(scope="session")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """178 wines as CSV: gaps in a column of numbers, and text columns without and with gaps."""
    wine = load_wine(as_frame=True)
    frame = wine.frame.assign(target=wine.target_names[wine.target])
    frame["tone"] = np.where(frame["hue"] > 1, "high", "low")
    frame["shade"] = frame["tone"]
    frame.loc[::9, ["alcohol", "shade"]] = None
    path = tmp_path_factory.mktemp("wine") / "wine.csv"
    frame.to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def table_run(wine: Path) -> FitResult:
    overrides = ("data=table", f"data.file={wine}", "data.target=target", "trainer.max_epochs=20")
    return train(configure(*overrides))


@pytest.fixture(scope="session")
def codes_run(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """Categories that look like numbers and booleans, beside others."""
    random = np.random.default_rng(0)
    kinds = {
        "code": ["1", "2", "x"], "zip": ["007", "008", "A12"], "flag": ["true", "false", "maybe"],
        "both": ["True", "False"],
    }  # fmt: skip
    frame = pd.DataFrame({name: random.choice(values, 150) for name, values in kinds.items()})
    frame["area"] = random.normal(100, 30, 150)
    frame["price"] = 10 * (frame["zip"] == "007") + 20 * (frame["flag"] == "true") + frame["area"]
    file = tmp_path_factory.mktemp("codes") / "codes.csv"
    frame.to_csv(file, index=False)
    return train(
        configure("data=table", f"data.file={file}", "data.target=price", "trainer.max_epochs=2")
    )


@pytest.fixture(scope="session")
def autoencoder_run(train_run: Callable[..., FitResult]) -> FitResult:
    return train_run("model=autoencoder", "trainer.max_epochs=1", "data.limit_train=320")


@pytest.fixture(scope="session")
def images_server(images_run: FitResult) -> Iterator[Client]:
    with serve_in_thread(images_run.run_id) as client:
        yield client


@pytest.fixture(scope="session")
def table_server(table_run: FitResult) -> Iterator[Client]:
    with serve_in_thread(table_run.run_id) as client:
        yield client


@pytest.fixture(scope="session")
def codes_server(codes_run: FitResult) -> Iterator[Client]:
    with serve_in_thread(codes_run.run_id) as client:
        yield client
