"""Predictions of saved models: from files and rows alone, equal to what the network says."""

import base64
import io
import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import uvicorn
from conftest import configure, wait_until_it_answers
from data.own_data import write_classes
from PIL import Image
from sklearn.datasets import load_diabetes, load_wine

import project
from project.config.build import build_data
from project.core.errors import UserError
from project.data.images import cache
from project.data.images.decode import decode_file
from project.models.contract import Contract, Predictor
from project.reports.run import load_best
from project.serving.files import main, predict
from project.serving.predictor import load_scorer
from project.serving.serve import main as serve
from project.serving.server import make_app
from project.tracking.find import find_run
from project.tracking.registry import register
from project.train import train
from project.training.results import FitResult


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("pictures") / "three colours", 20)


@pytest.fixture(scope="module")
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


def make_wine(folder: Path) -> Path:
    """178 wines with a text column and gaps, as CSV."""
    wine = load_wine(as_frame=True)
    frame = wine.frame.assign(target=wine.target_names[wine.target])
    frame["tone"] = np.where(frame["hue"] > 1, "high", "low")
    frame.loc[::9, "alcohol"] = np.nan
    frame.to_csv(folder / "wine.csv", index=False)
    return folder / "wine.csv"


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_wine(tmp_path_factory.mktemp("wine"))


@pytest.fixture(scope="module")
def table_run(wine: Path) -> FitResult:
    overrides = ("data=table", f"data.file={wine}", "data.target=target", "trainer.max_epochs=20")
    return train(configure(*overrides))


def test_images_are_predicted_as_the_network_does(images_run: FitResult, folder: Path) -> None:
    answers = predict(images_run.run_id, str(folder))
    run = find_run(images_run.run_id)
    assert len(answers) == 60
    model = load_best(run, run.config(), _spec(run.id))
    network = Predictor(model).eval()
    for row in answers.iloc[[0, 25, 59]].itertuples():
        image, _ = decode_file(folder / str(row.file), (16, 16, 3))
        with torch.no_grad():
            expected = network(torch.from_numpy(image[np.newaxis]))[0].numpy()
        found = [row.p_blue, row.p_green, row.p_red]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert row.prediction == ("blue", "green", "red")[expected.argmax()]
        assert row.probability == pytest.approx(expected.max(), abs=1e-5)
    right = answers["file"].str.split("/").str[0] == answers["prediction"]
    assert right.mean() > 0.9


def _spec(run_id: str) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "FOLDER", project.ROOT / "data" / "cache")
        return build_data(find_run(run_id).config()).spec


def test_top_k_gives_the_likeliest_classes_in_order(images_run: FitResult, folder: Path) -> None:
    every, two = predict(images_run.run_id, str(folder)), predict(images_run.run_id, str(folder), 2)
    columns = ["file", "prediction", "probability", "prediction_2", "probability_2"]
    assert list(two.columns) == columns
    probabilities = np.sort(every[["p_blue", "p_green", "p_red"]].to_numpy())[:, ::-1]
    np.testing.assert_allclose(two[["probability", "probability_2"]], probabilities[:, :2])
    assert (two["prediction"] != two["prediction_2"]).all()


def test_what_cannot_be_read_is_listed_not_fatal(
    images_run: FitResult, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty é.png").write_bytes(b"")
    (tmp_path / 'no "image".jpg').write_text("text")
    (tmp_path / "notes.txt").write_text("not listed")
    content = (folder / "red" / "red 00.png").read_bytes()
    (tmp_path / "whole.png").write_bytes(content)
    (tmp_path / "cut.png").write_bytes(content[:300])
    answers = predict(images_run.run_id, str(tmp_path)).set_index("file")
    assert list(answers.index) == ["cut.png", "empty é.png", 'no "image".jpg', "whole.png"]
    assert answers["prediction"].notna().tolist() == [False, False, False, True]
    assert answers["prediction"]["whole.png"] == "red"
    assert answers["note"].tolist()[1:] == [
        "the file is empty",
        "not a PNG, JPEG, WebP, BMP or TIFF image",
        "",
    ]
    alone = predict(images_run.run_id, str(tmp_path / "whole.png"))
    assert alone["prediction"].tolist() == ["red"]


def test_a_registered_model_is_enough(
    images_run: FitResult, folder: Path, tmp_path: Path, own_store: Path
) -> None:
    """Only the store's database and the model's files: no training data, cache or checkpoint."""
    pictures = write_classes(tmp_path / "gone", 14, seed=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "FOLDER", tmp_path / "cache")
        result = train(
            configure(
                "data=images",
                f"data.root={pictures}",
                "data.image_size=16",
                "model.width=8",
                "trainer.max_epochs=1",
            )
        )
    registration = register(find_run(result.run_id), "accuracy", "max")
    assert registration.name == "gone-cnn"
    before = predict(result.run_id, str(folder))
    for place in (pictures, tmp_path / "cache", own_store / "checkpoints"):
        place.rename(tmp_path / f"moved {place.name}")
    for name in ("models:/gone-cnn@champion", "models:/gone-cnn/1"):
        pd.testing.assert_frame_equal(predict(name, str(folder)), before)


def test_rows_are_predicted_as_the_network_does(table_run: FitResult, wine: Path) -> None:
    answers = predict(table_run.run_id, str(wine))
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
    answers = predict(table_run.run_id, str(tmp_path / "rows.csv"))
    assert answers["prediction"].notna().tolist() == [True, True, False, True, True]
    assert answers["note"].tolist() == [
        "",
        "tone: 'middling' was not seen in training",
        "ash: 'much' is not a number",
        "tone: '' was not seen in training",
        "",
    ]


@pytest.fixture(scope="module")
def codes_run(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """Categories that look like numbers and truths, beside others."""
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


KNOWN = "area,code,zip,flag,both\n100,1,007,true,True\n90,2,008,false,False\n"
ODD = KNOWN + "80,x,A12,maybe,True\n70,,A12,maybe,True\n"


def test_a_row_is_answered_alike_whatever_is_around_it(
    codes_run: FitResult, tmp_path: Path
) -> None:
    (tmp_path / "odd.csv").write_text(ODD)
    (tmp_path / "known.csv").write_text(KNOWN)
    (tmp_path / "one.csv").write_text("".join(KNOWN.splitlines(keepends=True)[:2]))
    odd, known, one = (
        predict(codes_run.run_id, str(tmp_path / f"{name}.csv")) for name in ("odd", "known", "one")
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
    again = predict(codes_run.run_id, str(tmp_path / "typed.parquet"))
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
def test_what_is_no_number_is_not_predicted(
    area: str, note: str, codes_run: FitResult, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(f"{KNOWN}{area},1,007,true,True\n")
    answers = predict(codes_run.run_id, str(tmp_path / "a.csv"))
    assert answers["prediction"].notna().tolist() == [True, True, not note]
    assert answers.get("note", pd.Series([""] * 3)).tolist() == ["", "", note]


def test_dates_are_no_numbers(codes_run: FitResult, tmp_path: Path) -> None:
    frame = pd.read_csv(io.StringIO(KNOWN), dtype=str)
    frame["area"] = pd.to_datetime(["2020-01-01", None])
    frame.to_parquet(tmp_path / "a.parquet")
    answers = predict(codes_run.run_id, str(tmp_path / "a.parquet"))
    assert answers["note"].tolist() == ["area: '2020-01-01' is not a number", ""]


def test_values_are_predicted_in_their_unit(diabetes_run: FitResult, tmp_path: Path) -> None:
    features, target = load_diabetes(scaled=False, return_X_y=True, as_frame=True)
    features.to_csv(tmp_path / "patients.csv", index=False)
    answers = predict(diabetes_run.run_id, str(tmp_path / "patients.csv"))
    assert list(answers.columns) == ["row", "prediction"]
    assert np.corrcoef(answers["prediction"], target)[0, 1] > 0.5
    assert abs(answers["prediction"].mean() - target.mean()) < 30
    features.loc[4, "bmi"] = np.nan
    features.to_csv(tmp_path / "patients.csv", index=False)
    again = predict(diabetes_run.run_id, str(tmp_path / "patients.csv"))
    assert again["note"].tolist()[:5] == ["", "", "", "", "a number is missing"]
    assert again["prediction"].isna().sum() == 1


def test_an_autoencoder_says_how_well_it_can_draw(
    train_run: Callable[..., FitResult], folder: Path
) -> None:
    run = train_run("model=autoencoder", "trainer.max_epochs=1", "data.limit_train=320")
    answers = predict(run.run_id, str(folder))
    assert list(answers.columns) == ["file", "error"]
    assert answers["error"].between(0, 1).all()


def test_the_contract_survives_json(table_run: FitResult) -> None:
    contract = load_scorer(table_run.run_id).contract
    plain = json.loads(json.dumps(contract.to_plain()))
    assert Contract.from_plain(plain) == contract
    assert contract.columns[-1].categories == ("high", "low")


def test_the_command_writes_csv_or_parquet_and_shows_a_table(
    images_run: FitResult, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        path = tmp_path / "new folder" / f"answers{suffix}"
        main([f"run={images_run.run_id}", f"input={folder}", f"output={path}", "--top-k=1"])
        written = read(path)
        assert list(written.columns) == ["file", "prediction", "probability"]
        assert len(written) == 60
        assert f"written to {path}" in capsys.readouterr().out
    assert sorted(file.name for file in path.parent.iterdir()) == ["answers.csv", "answers.parquet"]
    odd = tmp_path / "scan[/2024]"
    odd.mkdir(parents=True)
    (odd / "[red]x.png").write_bytes((folder / "red" / "red 00.png").read_bytes())
    main([f"run={images_run.run_id}", f"input={odd}", f"output={tmp_path / 'a.csv'}"])
    assert "[red]x.png" in capsys.readouterr().out


BAD = {
    "no run": (["input=x"], "run: missing: expected run=<run>"),
    "no input": (["run=last"], "input: missing: expected input=<input>"),
    "an unknown key": (["run=last", "inptu=x"], "inptu=x: unknown key: did you mean 'input'?"),
    "no number": (["run=last", "input=x", "top_k=many"], "top_k: many: expected a whole number"),
    "zero": (["run=last", "input=x", "top_k=0"], "top_k: 0: expected a whole number from 1"),
    "classes of values": (
        ["run={diabetes}", "input={wine}", "top_k=2"], "top_k: 2: this model knows no classes"
    ),
    "the input as output": (
        ["run={table}", "input={short}", "output={short}"], "short.csv: it is the input: expected"
    ),
    "a place below a file": (
        ["run={images}", "input={folder}", "output={short}/a.csv"], "/short.csv/a.csv: "
    ),
    "an unknown suffix": (["run=last", "input=x", "output=a.xls"], "output: a.xls: expected a nam"),
    "an unknown run": (["run=0123", "input=x"], "run: 0123: there is no such run"),
    "an unknown model": (["run=models:/none@champion", "input=x"], "run: models:/none@champion: c"),
    "no such input": (["run={images}", "input=/nowhere"], "input: /nowhere: there is no such file"),
    "a table for images": (["run={images}", "input={wine}"], "this model takes images: exp"),
    "images for a table": (["run={table}", "input={folder}"], "this model takes rows: exp"),
    "no pictures": (["run={images}", "input={empty}"], "there are no pictures in it"),
    "a column missing": (["run={table}", "input={short}"], "column 'malic_acid' is missing: expec"),
    "too few columns": (["run={diabetes}", "input={short}"], "2 columns: expected 10 of numbers"),
    "no table": (["run={table}", "input={latin}"], "is not UTF-8"),
    "a place that can't be written": (
        ["run={images}", "input={folder}", "output=/proc/x/a.csv"], "output: /proc/x/a.csv: "
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_answered_in_one_line(
    name: str,
    images_run: FitResult,
    table_run: FitResult,
    diabetes_run: FitResult,
    folder: Path,
    wine: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "short.csv").write_text("alcohol,tone\n1,high\n")
    (tmp_path / "latin.csv").write_bytes("Wärme\n1\n".encode("latin-1"))
    known = {
        "images": images_run.run_id,
        "table": table_run.run_id,
        "diabetes": diabetes_run.run_id,
        "folder": folder,
        "wine": wine,
        "empty": tmp_path / "empty",
        "short": tmp_path / "short.csv",
        "latin": tmp_path / "latin.csv",
    }
    arguments, message = BAD[name]
    with pytest.raises(UserError) as caught:
        main([argument.format(**known) for argument in arguments])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trial_of_a_sweep_has_no_model(train_run: Callable[..., FitResult]) -> None:
    brief = train(configure("model.width=8", "trainer.max_epochs=1"), log_model=False)
    with pytest.raises(UserError, match="it is FINISHED and has no model: expected"):
        predict(brief.run_id, "anything")


class Client:
    """Asks a server on loopback."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, body: Any, kind: str = "application/json", host: str = "") -> tuple[int, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/invocations", content)
        request.add_header("Content-Type", kind)
        if host:
            request.add_header("Host", host)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def served(run_id: str, port: int) -> Iterator[Client]:
    server = subprocess.Popen(
        [sys.executable, "-m", "project.serving.serve", f"run={run_id}", f"port={port}"],
        cwd=project.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until_it_answers(port, server)
        yield Client(port)
    finally:
        server.send_signal(signal.SIGINT)
        output, _ = server.communicate(timeout=30)
    assert "Traceback" not in output
    assert f"http://127.0.0.1:{port}/invocations" in output


@pytest.fixture(scope="module")
def images_server(images_run: FitResult, free_port: int) -> Iterator[Client]:
    yield from served(images_run.run_id, free_port)


def read_pictures(folder: Path, count: int) -> tuple[list[Path], list[str], list[Any]]:
    files = sorted(folder.rglob("*.png"))[:count]
    encoded = [base64.b64encode(file.read_bytes()).decode() for file in files]
    return files, encoded, [decode_file(file, (16, 16, 3))[0].tolist() for file in files]


@pytest.mark.parametrize("count", [1, 2, 60])
def test_the_server_answers_as_predict_does(
    count: int, images_server: Client, images_run: FitResult, folder: Path
) -> None:
    expected = predict(images_run.run_id, str(folder)).head(count).drop(columns="file")
    _, encoded, arrays = read_pictures(folder, count)
    records = [{"image": each} for each in encoded]
    for body in ({"inputs": encoded}, {"inputs": arrays}, {"dataframe_records": records}):
        status, answer = images_server.ask(body)
        assert status == 200, answer
        found = pd.DataFrame(answer["predictions"])
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, atol=1e-4)


def test_the_server_answers_many_at_once(images_server: Client, folder: Path) -> None:
    _, encoded, _ = read_pictures(folder, 60)
    alone = [images_server.ask({"inputs": [each]})[1]["predictions"][0] for each in encoded[:12]]
    with ThreadPoolExecutor(6) as threads:
        together = list(
            threads.map(lambda each: images_server.ask({"inputs": [each]})[1], encoded[:12])
        )
    assert [answer["predictions"][0] for answer in together] == alone


def picture(size: tuple[int, int]) -> str:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


WRONG: dict[str, tuple[Any, str]] = {
    "another shape": (
        {"inputs": np.zeros((2, 8, 8, 3)).tolist()},
        "shape (2, 8, 8, 3)",
    ),
    "one image alone": (
        {"inputs": np.zeros((16, 16, 3)).tolist()},
        "shape (16, 16, 3)",
    ),
    "no images": ({"inputs": []}, "an array of shape (0,)"),
    "ragged": ({"inputs": [[[1]], [[1, 2]]]}, "inhomogeneous"),
    "fractions": (
        {"inputs": np.full((1, 16, 16, 3), 0.5).tolist()},
        "no whole numbers",
    ),
    "too bright": (
        {"inputs": np.full((1, 16, 16, 3), 256).tolist()},
        "no whole numbers",
    ),
    "no base64": ({"inputs": ["%%%"]}, "input 0: no base64"),
    "no picture": (
        {"inputs": [picture((9, 9)), base64.b64encode(b"x").decode()]},
        "input 1: no ",
    ),
    "a bomb": ({"inputs": [picture((10_000, 9_000))]}, "expected at most 89 million"),
    "two columns": ({"dataframe_records": [{"a": "x", "b": "y"}]}, "2 columns: expected"),
    "no known key": ({"images": []}, "inputs"),
    "no JSON": (b"{", "JSON"),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_server_refuses_what_it_cannot_take(name: str, images_server: Client) -> None:
    body, message = WRONG[name]
    status, answer = images_server.ask(body)
    assert status == 400, answer
    assert message in answer
    assert len(answer) < 3000  # not all that was sent


def test_the_server_answers_to_no_other_name(images_server: Client) -> None:
    assert images_server.ask({"inputs": []}, host="evil.example")[0] == 400


@contextmanager
def served_here(run_id: str) -> Iterator[Client]:
    """The same server in a thread."""
    settings = uvicorn.Config(make_app(load_scorer(run_id)), "127.0.0.1", 0, log_level="critical")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    try:
        yield Client(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(20)


def test_the_server_answers_csv_as_predict_does(codes_run: FitResult, tmp_path: Path) -> None:
    (tmp_path / "odd.csv").write_text(ODD)
    expected = predict(codes_run.run_id, str(tmp_path / "odd.csv"))
    with served_here(codes_run.run_id) as client:
        status, answer = client.ask(ODD.encode(), "text/csv")
        assert status == 200, answer
        found = pd.DataFrame(answer["predictions"])
        np.testing.assert_allclose(found["prediction"], expected["prediction"], rtol=1e-5)
        assert found["note"].tolist() == expected["note"].tolist()
        for body, kind, message in (
            (
                b"area,code\n1,2,3\n",
                "text/csv",
                "rows have more values than there are column names",
            ),
            (b"[" * 200_000 + b"]" * 200_000, "application/json", "nested too deeply"),
        ):
            status, answer = client.ask(body, kind)
            assert status == 400, answer
            assert message in answer


def test_the_server_takes_tables(table_run: FitResult, wine: Path) -> None:
    frame = pd.read_csv(wine).drop(columns="target").head(20)
    expected = predict(table_run.run_id, str(wine)).head(20).drop(columns="row")
    plain = json.loads(frame.to_json(orient="records"))
    split = json.loads(frame.to_json(orient="split"))
    columns = {name: [row[name] for row in plain] for name in frame.columns}
    with served_here(table_run.run_id) as client:
        for body, kind in (
            ({"dataframe_records": plain}, "application/json"),
            ({"dataframe_split": split}, "application/json"),
            ({"inputs": columns}, "application/json"),
            (frame.to_csv(index=False).encode(), "text/csv"),
        ):
            status, answer = client.ask(body, kind)
            assert status == 200, answer
            found = pd.DataFrame(answer["predictions"])
            pd.testing.assert_frame_equal(found, expected, check_dtype=False, atol=1e-4)
        for wrong, message in (
            ({"dataframe_records": [{"ash": 1}]}, "column 'alcohol' is missing"),
            (
                {"dataframe_records": [{**plain[0], "ash": "much"}]},
                "row 0: ash: 'much' is not a number",
            ),
            ({"inputs": 3}, "expected"),
        ):
            status, answer = client.ask(wrong)
            assert status == 400, answer
            assert message in answer


def test_serve_tells_mistakes_in_one_line() -> None:
    for arguments, message in (
        ([], "run: missing: expected run=<run id>"),
        (["run=none"], "run: none: there is no such run"),
        (["run=last", "port=x"], "port=x: expected port=<number"),
    ):
        with pytest.raises(UserError) as caught:
            serve(arguments)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)
