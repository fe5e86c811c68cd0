"""Data report: counts, duplicates across splits, and a sealed test set."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import configure
from data.own_data import write_classes
from PIL import Image
from sklearn.datasets import load_sample_image

from project.config.build import build_data
from project.data.images import cache
from project.data.images.similar import MIN_BITS, MIN_SIZE, find_near, hash_images
from project.data.splits import hash_samples
from project.reports.data import data_figures, describe_data, show, summarise_data
from project.tracking.find import find_run
from project.training.results import FitResult


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FOLDER", tmp_path / "cache")


def crops(count: int, size: int = 64) -> list[Image.Image]:
    """Different parts of a photograph."""
    photo = Image.fromarray(load_sample_image("china.jpg"))
    random = np.random.default_rng(0)
    corners = random.integers(0, [photo.width - size, photo.height - size], (count, 2))
    return [photo.crop((x, y, x + size, y + size)) for x, y in corners.tolist()]


def test_copies_of_other_size_and_quality_look_the_same_and_others_do_not() -> None:
    originals = crops(60, 128)
    copies = []
    for image in originals:
        file = io.BytesIO()
        image.resize((100, 100), Image.Resampling.LANCZOS).save(file, "JPEG", quality=75)
        copies.append(np.asarray(Image.open(file).resize((128, 128))))
    first = hash_images(np.stack([np.asarray(image) for image in originals]))
    second = hash_images(np.stack(copies))
    near_pairs = {tuple(pair) for pair in find_near(first, second).tolist()}
    textured = (first.sum(axis=1) >= MIN_BITS).sum()  # the others are plain sky
    assert textured > 40
    assert sum(i == j for i, j in near_pairs) > 0.8 * textured
    assert all(i == j for i, j in near_pairs)


def test_plain_areas_are_like_nothing() -> None:
    plain = hash_images(np.stack([np.full((32, 32, 3), level, np.uint8) for level in (0, 90, 255)]))
    assert not len(find_near(plain, plain))


def test_a_folder_is_counted_and_its_copies_are_found(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "kinds", 20)
    for index, image in enumerate(crops(60)):
        (folder / "photo").mkdir(exist_ok=True)
        image.save(folder / "photo" / f"{index}.png")
        if index < 20:
            image.resize((60, 60)).save(folder / "photo" / f"copy of {index}.jpg", quality=85)
        if index < 10:
            image.save(folder / "photo" / f"the same as {index}.png")
    (folder / "red" / "cut.png").write_bytes(b"\x89PNG")
    config = configure("data=images", f"data.root={folder}", "data.image_size=32")
    data = build_data(config)
    report = summarise_data(data, "kinds")
    split = data.split
    for place, name in enumerate(("train", "val", "test")):
        assert report.num_samples[name] == len(getattr(split, name))
        in_split = sum(counts[place] for counts in report.class_counts.values())
        assert in_split == report.num_samples[name]
    assert {name: sum(each) for name, each in report.class_counts.items()} == {
        "blue": 20, "green": 20, "photo": 90, "red": 20,
    }  # fmt: skip
    assert report.sizes["height"][1] in range(12, 65)
    assert report.num_skipped == 1
    assert report.skipped == {"red/cut.png": "not a PNG, JPEG, WebP, BMP or TIFF image"}
    assert report.duplicates == data.duplicates
    source = data.read()
    exact = hash_samples(source)
    for left, right in report.near_pairs:
        i, j = source.names.index(left), source.names.index(right)
        assert exact[i] != exact[j]
        assert Path(left).stem.split(" ")[-1] == Path(right).stem.split(" ")[-1]
    assert report.near_duplicates is not None
    assert sum(report.near_duplicates.values()) >= 4
    assert sum(report.duplicates.values()) >= 2


def test_small_images_are_not_compared() -> None:
    data = build_data(configure("data=digits"))
    assert min(data.spec.shape[:2]) < MIN_SIZE
    assert summarise_data(data, "digits").near_duplicates is None


def test_no_test_sample_is_drawn_or_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = build_data(configure("data=digits", "data.image_size=24"))
    poisoned = build_data(configure("data=digits", "data.image_size=24"))
    source = poisoned.read()
    source.inputs[poisoned.split.test] = 255 - source.inputs[poisoned.split.test]
    monkeypatch.setattr(poisoned, "read", lambda: source)
    ours, theirs = summarise_data(plain, "digits"), summarise_data(poisoned, "digits")
    assert ours.channels == theirs.channels
    assert ours.class_counts == theirs.class_counts
    for (name, first), (_, second) in zip(
        data_figures(plain, ours), data_figures(poisoned, theirs), strict=True
    ):
        images = []
        for figure in (first, second):
            file = io.BytesIO()
            figure.savefig(file, format="png", dpi=40, metadata={"Software": None})
            images.append(file.getvalue())
        assert images[0] == images[1], name
    assert plain.test is None


def test_a_table_s_columns_are_described_by_train_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], own_store: Path
) -> None:
    frame = pd.DataFrame({"x": np.arange(100.0), "kind": ["a", "b"] * 50, "y": np.arange(100) / 3})
    frame.loc[::10, "x"] = np.nan
    frame.to_csv(tmp_path / "my table.csv", index=False)
    file = tmp_path / "my table.csv"
    config = configure("data=table", f"data.file='{file}'", "data.target=y")
    show(describe_data(config))
    printed = capsys.readouterr().out
    assert "my-table: regression, 100 samples of (2,): train 60, val 10, test 30" in printed
    folder = own_store / "data" / "my-table"
    assert {each.name for each in folder.iterdir()} == {"data.json", "targets.png"}
    written = json.loads((folder / "data.json").read_text())
    data = build_data(config)
    train = frame.iloc[data.split.train]
    x, kind = written["columns"]
    assert x["missing"] == pytest.approx(train["x"].isna().mean())
    assert x["values"] == (
        f"{train['x'].min():g} to {train['x'].max():g}, median {train['x'].median():g}"
    )
    assert kind["values"].startswith("2 categories, most often ")
    assert written["fingerprint"] == data.fingerprint


def test_the_summary_goes_to_the_run(
    digits_run: FitResult, train_run: Callable[..., FitResult]
) -> None:
    run = find_run(digits_run.run_id)
    artifacts = {file.path for file in run.client.list_artifacts(run.id)}
    assert "data.json" in artifacts
    written = json.loads(Path(run.client.download_artifacts(run.id, "data.json")).read_text())
    assert written["fingerprint"] == run.mlflow_run.data.tags["split.fingerprint"]
    assert written["num_samples"]["train"] == 320
