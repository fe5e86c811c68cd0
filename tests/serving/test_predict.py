"""Predictions of saved models for files and rows equal those of the network."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import configure
from data.own_data import write_classes
from serving.client import KNOWN, ODD, predict
from sklearn.datasets import load_diabetes

import project
from project.config.build import build_data
from project.data.images import cache
from project.data.images.decode import decode_file
from project.models.contract import Contract, Predictor
from project.reports.run import load_best
from project.serving.predict import load_model
from project.tracking.find import find_run
from project.tracking.models import register
from project.train import train
from project.training.results import FitResult


def test_images_are_predicted_as_the_network_does(images_run: FitResult, folder: Path) -> None:
    answers = predict(images_run.run_id, folder)
    run = find_run(images_run.run_id)
    assert len(answers) == 60
    model = load_best(run, run.config(), _spec(run.id))
    network = Predictor(model).eval()
    for row in answers.iloc[[0, 25, 59]].itertuples():
        image, _ = decode_file(folder / str(row.file), (16, 16, 3))
        with torch.no_grad():
            expected = network(torch.from_numpy(image[np.newaxis]))[0].numpy()
        actual = [row.p_blue, row.p_green, row.p_red]
        np.testing.assert_allclose(actual, expected, atol=1e-5)
        assert row.prediction == ("blue", "green", "red")[expected.argmax()]
        assert row.probability == pytest.approx(expected.max(), abs=1e-5)
    right = answers["file"].str.split("/").str[0] == answers["prediction"]
    assert right.mean() > 0.9


def _spec(run_id: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "FOLDER", project.ROOT / "data" / "cache")
        return build_data(find_run(run_id).config()).spec


def test_top_k_lists_the_most_probable_classes_in_order(
    images_run: FitResult, folder: Path
) -> None:
    every, two = predict(images_run.run_id, folder), predict(images_run.run_id, folder, 2)
    columns = ["file", "prediction", "probability", "prediction_2", "probability_2"]
    assert list(two.columns) == columns
    probabilities = np.sort(every[["p_blue", "p_green", "p_red"]].to_numpy())[:, ::-1]
    np.testing.assert_allclose(two[["probability", "probability_2"]], probabilities[:, :2])
    assert (two["prediction"] != two["prediction_2"]).all()


def test_unreadable_files_are_listed_with_the_reason(
    images_run: FitResult, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty é.png").write_bytes(b"")
    (tmp_path / 'no "image".jpg').write_text("text")
    (tmp_path / "notes.txt").write_text("not listed")
    content = (folder / "red" / "red 00.png").read_bytes()
    (tmp_path / "whole.png").write_bytes(content)
    (tmp_path / "cut.png").write_bytes(content[:300])
    answers = predict(images_run.run_id, tmp_path).set_index("file")
    assert list(answers.index) == ["cut.png", "empty é.png", 'no "image".jpg', "whole.png"]
    assert answers["prediction"].notna().tolist() == [False, False, False, True]
    assert answers["prediction"]["whole.png"] == "red"
    assert answers["note"].tolist()[1:] == [
        "the file is empty",
        "not a PNG, JPEG, WebP, BMP or TIFF image",
        "",
    ]
    alone = predict(images_run.run_id, tmp_path / "whole.png")
    assert alone["prediction"].tolist() == ["red"]


def test_a_registered_model_is_enough(
    images_run: FitResult, folder: Path, tmp_path: Path, own_store: Path
) -> None:
    """Only the store's database and the model's files: no training data, cache or checkpoint."""
    image_folder = write_classes(tmp_path / "gone", 14, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "FOLDER", tmp_path / "cache")
        result = train(
            configure(
                "data=images",
                f"data.root={image_folder}",
                "data.image_size=16",
                "model.width=8",
                "trainer.max_epochs=1",
            )
        )
    registration = register(find_run(result.run_id), "accuracy")
    assert registration.name == "gone-cnn"
    before = predict(result.run_id, folder)
    for place in (image_folder, tmp_path / "cache", own_store / "checkpoints"):
        place.rename(tmp_path / f"moved {place.name}")
    for name in ("models:/gone-cnn@champion", "models:/gone-cnn/1"):
        pd.testing.assert_frame_equal(predict(name, folder), before)


def test_rows_are_predicted_as_the_network_does(table_run: FitResult, wine: Path) -> None:
    answers = predict(table_run.run_id, wine)
    frame = pd.read_csv(wine)
    assert (answers["prediction"] == frame["target"]).mean() > 0.9
    assert answers["row"].tolist() == list(range(1, 179))
    run = find_run(table_run.run_id)
    data = build_data(run.config())
    network = Predictor(load_best(run, run.config(), data.spec)).eval()
    with torch.no_grad():
        expected = network(torch.from_numpy(data.val.inputs[:])).numpy()
    names = [f"p_class_{i}" for i in range(3)]
    np.testing.assert_allclose(answers[names].to_numpy()[data.val.indices], expected, atol=1e-5)


def test_rows_with_gaps_unseen_categories_and_words(
    table_run: FitResult, wine: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(wine).head(5).astype({"ash": object})
    frame.loc[1, "tone"] = "middling"
    frame.loc[2, "ash"] = "much"
    frame.loc[3, ["alcohol", "tone", "ash"]] = None
    frame["further"] = "ignored"
    frame.to_csv(tmp_path / "rows.csv", index=False)
    answers = predict(table_run.run_id, tmp_path / "rows.csv")
    assert answers["prediction"].notna().tolist() == [True, True, False, True, True]
    assert answers["note"].tolist() == [
        "",
        "tone: 'middling' was not seen in training",
        "ash: 'much' is not a number",
        "tone: '' was not seen in training",
        "",
    ]


def test_a_row_is_predicted_alike_whichever_rows_are_around_it(
    codes_run: FitResult, tmp_path: Path
) -> None:
    (tmp_path / "odd.csv").write_text(ODD)
    (tmp_path / "known.csv").write_text(KNOWN)
    (tmp_path / "one.csv").write_text("".join(KNOWN.splitlines(keepends=True)[:2]))
    odd, known, one = (
        predict(codes_run.run_id, tmp_path / f"{name}.csv") for name in ("odd", "known", "one")
    )
    assert odd["note"].tolist() == ["", "", "", "code: '' was not seen in training"]
    np.testing.assert_allclose(known["prediction"], odd["prediction"][:2], rtol=1e-6)
    np.testing.assert_allclose(one["prediction"], odd["prediction"][:1], rtol=1e-6)
    assert "note" not in known
    # As JSON and Parquet have them.
    typed = pd.DataFrame(
        {"area": [100, 90], "code": [1.0, 2.0], "zip": ["007", "008"], "flag": [True, False],
         "both": [True, False]}
    )  # fmt: skip
    typed.to_parquet(tmp_path / "typed.parquet")
    again = predict(codes_run.run_id, tmp_path / "typed.parquet")
    np.testing.assert_allclose(again["prediction"], known["prediction"], rtol=1e-6)


@pytest.mark.parametrize(
    ("area", "note"),
    [
        ("1e39", "area: '1e39' is not a number"),
        ("2020-01-01", "area: '2020-01-01' is not a number"),
        ("wide", "area: 'wide' is not a number"),
        ("?", ""),
    ],
)
def test_a_row_with_a_text_for_a_number_is_not_predicted(
    area: str, note: str, codes_run: FitResult, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(f"{KNOWN}{area},1,007,true,True\n")
    answers = predict(codes_run.run_id, tmp_path / "a.csv")
    assert answers["prediction"].notna().tolist() == [True, True, not note]
    assert answers.get("note", pd.Series([""] * 3)).tolist() == ["", "", note]


def test_dates_are_not_numbers(codes_run: FitResult, tmp_path: Path) -> None:
    frame = pd.read_csv(io.StringIO(KNOWN), dtype=str)
    frame["area"] = pd.to_datetime(["2020-01-01", None])
    frame.to_parquet(tmp_path / "a.parquet")
    answers = predict(codes_run.run_id, tmp_path / "a.parquet")
    assert answers["note"].tolist() == ["area: '2020-01-01' is not a number", ""]


def test_values_are_predicted_in_their_unit(diabetes_run: FitResult, tmp_path: Path) -> None:
    features, target = load_diabetes(scaled=False, return_X_y=True, as_frame=True)
    features.to_csv(tmp_path / "patients.csv", index=False)
    answers = predict(diabetes_run.run_id, tmp_path / "patients.csv")
    assert list(answers.columns) == ["row", "prediction"]
    assert np.corrcoef(answers["prediction"], target)[0, 1] > 0.5
    assert abs(answers["prediction"].mean() - target.mean()) < 30
    features.loc[4, "bmi"] = np.nan
    features.to_csv(tmp_path / "patients.csv", index=False)
    again = predict(diabetes_run.run_id, tmp_path / "patients.csv")
    assert again["note"].tolist()[:5] == ["", "", "", "", "a number is missing"]
    assert again["prediction"].isna().sum() == 1


def test_an_autoencoder_predicts_its_reconstruction_error(
    autoencoder_run: FitResult, folder: Path
) -> None:
    answers = predict(autoencoder_run.run_id, folder)
    assert list(answers.columns) == ["file", "error"]
    assert answers["error"].between(0, 1).all()


def test_the_contract_survives_json(table_run: FitResult) -> None:
    contract = load_model(table_run.run_id).contract
    plain = json.loads(json.dumps(contract.model_dump(mode="json")))
    assert Contract.model_validate(plain) == contract
    assert contract.columns[-2].categories == ("high", "low")
