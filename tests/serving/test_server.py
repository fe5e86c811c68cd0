"""The server's predictions equal those of the command; bad requests get a one-line error."""

import base64
import io
import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from os import getpid, kill
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from serving.client import KNOWN, ODD, Client, predict

from project.cli.commands import COMMANDS
from project.cli.main import call, main
from project.core.errors import UserError
from project.data.images.decode import decode_file
from project.training.results import FitResult


def read_images(folder: Path, count: int) -> tuple[list[Path], list[str], list[Any]]:
    files = sorted(folder.rglob("*.png"))[:count]
    encoded = [base64.b64encode(file.read_bytes()).decode() for file in files]
    return files, encoded, [decode_file(file, (16, 16, 3))[0].tolist() for file in files]


@pytest.mark.parametrize("count", [1, 2, 60])
def test_the_server_predicts_as_the_command_does(
    count: int, images_server: Client, images_run: FitResult, folder: Path
) -> None:
    expected = predict(images_run.run_id, folder).head(count).drop(columns="file")
    _, encoded, arrays = read_images(folder, count)
    records = [{"image": each} for each in encoded]
    for body in ({"inputs": encoded}, {"inputs": arrays}, {"dataframe_records": records}):
        status, answer = images_server.post(body)
        assert status == 200, answer
        actual = pd.DataFrame(answer["predictions"])
        pd.testing.assert_frame_equal(actual, expected, check_dtype=False, atol=1e-4)


def test_the_server_predicts_for_many_clients_at_once(images_server: Client, folder: Path) -> None:
    _, encoded, _ = read_images(folder, 60)
    alone = [images_server.post({"inputs": [each]})[1]["predictions"][0] for each in encoded[:12]]
    with ThreadPoolExecutor(6) as threads:
        together = list(
            threads.map(lambda each: images_server.post({"inputs": [each]})[1], encoded[:12])
        )
    assert [answer["predictions"][0] for answer in together] == alone


def encoded_image(size: tuple[int, int]) -> str:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


WRONG: dict[str, tuple[Any, str]] = {
    "another shape": ({"inputs": np.zeros((2, 8, 8, 3)).tolist()}, "shape (2, 8, 8, 3)"),
    "one image alone": ({"inputs": np.zeros((16, 16, 3)).tolist()}, "shape (16, 16, 3)"),
    "no images": ({"inputs": []}, "an array of shape (0,)"),
    "ragged": ({"inputs": [[[1]], [[1, 2]]]}, "not an array of numbers"),
    "fractions": ({"inputs": np.full((1, 16, 16, 3), 0.5).tolist()}, "not integers"),
    "too bright": ({"inputs": np.full((1, 16, 16, 3), 256).tolist()}, "not integers"),
    "negative": ({"inputs": np.full((1, 16, 16, 3), -1).tolist()}, "not integers"),
    "not finite": ({"inputs": np.full((1, 16, 16, 3), np.inf).tolist()}, "not integers"),
    "beyond a float": ({"inputs": [10**400]}, "not an array of numbers"),
    "not base64": ({"inputs": ["%%%"]}, "input 0: not base64"),
    "not an image": (
        {"inputs": [encoded_image((9, 9)), base64.b64encode(b"x").decode()]}, "input 1: not a PNG"
    ),
    "a bomb": ({"inputs": [encoded_image((10_000, 9_000))]}, "expected at most 89 million"),
    "two columns": ({"dataframe_records": [{"a": "x", "b": "y"}]}, "2 columns: expected"),
    "no known key": ({"images": []}, "inputs"),
    "two known keys": ({"inputs": ["x"], "instances": ["x"]}, "exactly one of inputs, instances"),
    "a list": ([1], "exactly one of inputs"),
    "not JSON": (b"{", "body: not application/json"),
    "an integer of 5,000 digits": (b'{"inputs": [' + b"1" * 5000 + b"]}", "body: not application/"),
    "not UTF-8": (b'{"inputs": ["\xff"]}', "body: not application/json"),
    "code": (b'{"inputs": "__import__(\'os\').getpid()"}', "not an array of numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_the_server_refuses_wrong_inputs(name: str, images_server: Client) -> None:
    body, message = WRONG[name]
    status, answer = images_server.post(body)
    assert status == 400, answer
    assert_one_line(answer, message)


def assert_one_line(answer: str, message: str) -> None:
    error = json.loads(answer)["message"]
    assert message in error
    assert "\n" not in error
    assert len(answer) < 3000  # the request is not echoed


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain", "application/x-python-pickle", "application/json; charset=latin-1",
        "application/json; parser=eval", "multipart/form-data; boundary=x",
    ],
)  # fmt: skip
def test_the_server_refuses_other_content_types(
    kind: str, images_server: Client, folder: Path
) -> None:
    _, encoded, _ = read_images(folder, 1)
    assert images_server.post({"inputs": encoded}, "application/json; charset=UTF-8")[0] == 200
    status, answer = images_server.post({"inputs": encoded}, kind)
    assert status == 415
    assert_one_line(answer, f"content type: {kind}: expected application/json, text/csv, ")


def test_the_server_has_the_routes_of_mlflow(images_server: Client) -> None:
    assert images_server.get("ping") == images_server.get("health") == (200, "\n")
    assert images_server.get("version") == (200, version("mlflow"))
    assert images_server.get("invocations")[0] == 405
    assert images_server.get("docs")[0] == 404


def test_the_server_refuses_other_host_names(images_server: Client) -> None:
    assert images_server.post({"inputs": []}, host="evil.example")[0] == 400


def test_the_server_predicts_for_csv_as_the_command_does(
    codes_server: Client, codes_run: FitResult, tmp_path: Path
) -> None:
    (tmp_path / "odd.csv").write_text(ODD)
    expected = predict(codes_run.run_id, tmp_path / "odd.csv")
    status, answer = codes_server.post(ODD.encode(), "text/csv")
    assert status == 200, answer
    actual = pd.DataFrame(answer["predictions"])
    np.testing.assert_allclose(actual["prediction"], expected["prediction"], rtol=1e-5)
    assert actual["note"].tolist() == expected["note"].tolist()
    wide = "rows have more values than there are column names"
    for body, kind, message in (
        (b"area,code\n1,2,3\n", "text/csv", wide),
        ("Wärme\n1\n".encode("latin-1"), "text/csv", "body: not text/csv"),
        (b"PAR1", "application/vnd.apache.parquet", "body: not application/vnd.apache.parquet"),
        (b"[" * 200_000 + b"]" * 200_000, "application/json", "nested too deeply"),
    ):
        status, answer = codes_server.post(body, kind)
        assert status == 400, answer
        assert_one_line(answer, message)


def test_a_value_means_the_same_whichever_rows_are_around_it(codes_server: Client) -> None:
    columns = pd.read_csv(io.StringIO(KNOWN), dtype=str).to_dict("list")
    _, alone = codes_server.post({"inputs": columns | {"code": [1.0, 2.0]}})
    _, mixed = codes_server.post({"inputs": columns | {"code": [1.0, "x"]}})
    assert mixed["predictions"][0] == alone["predictions"][0]


def test_the_server_takes_tables(
    table_server: Client, table_run: FitResult, wine: Path, tmp_path: Path
) -> None:
    frame = pd.read_csv(wine).drop(columns="target").head(20)
    expected = predict(table_run.run_id, wine).head(20).drop(columns="row")
    plain = json.loads(frame.to_json(orient="records"))
    split = json.loads(frame.to_json(orient="split"))
    columns = {name: [row[name] for row in plain] for name in frame.columns}
    frame.to_parquet(tmp_path / "rows.parquet")
    parquet = (tmp_path / "rows.parquet").read_bytes()
    for body, kind in (
        ({"dataframe_records": plain}, "application/json"),
        ({"dataframe_split": split}, "application/json"),
        ({"inputs": columns}, "application/json"),
        ({"inputs": plain}, "application/json"),
        ({"instances": columns}, "application/json"),
        (frame.to_csv(index=False).encode(), "text/csv"),
        (parquet, "application/vnd.apache.parquet"),
    ):
        status, answer = table_server.post(body, kind)
        assert status == 200, answer
        actual = pd.DataFrame(answer["predictions"])
        pd.testing.assert_frame_equal(actual, expected, check_dtype=False, atol=1e-4)
    names = split["columns"]
    doubled = {"columns": [*names, names[0]], "data": [[*row, row[0]] for row in split["data"]]}
    for wrong, message in (
        ({"dataframe_records": [{"ash": 1}]}, "column 'alcohol' is missing"),
        ({"dataframe_records": {"ash": [1]}}, "dataframe_records: expected a list of objects"),
        ({"dataframe_records": [{**plain[0], "ash": "much"}]}, "row 0: ash: 'much' is not a num"),
        ({"dataframe_records": [{**plain[0], "ash": 10**400}]}, "too large"),
        ({"dataframe_split": {"columns": names}}, "dataframe_split: expected "),
        ({"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}, "not a table"),
        ({"dataframe_split": doubled}, "column 'alcohol' is listed twice"),
        ({"inputs": {name: [] for name in names}}, "no rows: expected at least one"),
        ({"inputs": 3}, "expected"),
    ):
        status, answer = table_server.post(wrong)
        assert status == 400, answer
        assert_one_line(answer, message)


def test_a_prediction_that_overflows_is_null(table_server: Client, wine: Path) -> None:
    frame = pd.read_csv(wine).drop(columns="target").head(1)
    body = {"dataframe_records": json.loads(frame.assign(ash=3e38).to_json(orient="records"))}
    status, answer = table_server.post(body)
    assert status == 200
    assert answer["predictions"][0]["probability"] is None


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_the_server(
    signum: signal.Signals, codes_run: FitResult, free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    statuses = []

    def stop_when_it_responds() -> None:
        while not statuses:
            try:
                statuses.append(Client(free_port).get("ping")[0])
            except OSError:
                sleep(0.05)
        kill(getpid(), signum)

    threading.Thread(target=stop_when_it_responds, daemon=True).start()
    assert main(["serve", f"run={codes_run.run_id}", f"port={free_port}"]) == 0
    assert statuses == [200]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"http://127.0.0.1:{free_port}/invocations" in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "run: missing: expected a value"),
        (["run=none"], "run: none: there is no such run"),
        (["run={run}", "port=x"], "port: 'x': expected a valid integer"),
        (["run={run}", "port=70000"], "port: '70000': expected less than or equal to 65535"),
        (["run={run}", "port={port}"], "port: {port}: Address already in use: expected a free po"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], message: str, codes_run: FitResult, images_server: Client
) -> None:
    known = {"run": codes_run.run_id, "port": images_server.address.rpartition(":")[2]}
    with pytest.raises(UserError) as caught:
        call(COMMANDS["serve"], [word.format(**known) for word in words])
    assert str(caught.value).startswith(message.format(**known))
    assert "\n" not in str(caught.value)
