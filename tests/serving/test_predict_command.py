"""The command ``predict``: its files, output and error messages."""

import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import configure

from project.cli.commands import COMMANDS
from project.cli.main import call, main
from project.core.errors import UserError
from project.serving.predict import predict
from project.train import train
from project.training.results import FitResult


def test_the_command_writes_csv_or_parquet_and_shows_a_table(
    images_run: FitResult, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = f"run={images_run.run_id}"
    for suffix, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
        path = tmp_path / "new folder" / f"answers{suffix}"
        assert main(["predict", run, f"input={folder}", f"output={path}", "--top-k=1"]) == 0
        written = read(path)
        assert list(written.columns) == ["file", "prediction", "probability"]
        assert len(written) == 60
        assert f"written to {path}" in capsys.readouterr().out
    assert sorted(file.name for file in path.parent.iterdir()) == ["answers.csv", "answers.parquet"]
    odd = tmp_path / "scan[/2024]"
    odd.mkdir(parents=True)
    (odd / "[red]x.png").write_bytes((folder / "red" / "red 00.png").read_bytes())
    assert main(["predict", run, f"input={odd}", f"output={tmp_path / 'a.csv'}"]) == 0
    assert "[red]x.png" in capsys.readouterr().out


def test_the_table_fits_80_columns_and_the_record_holds_every_row(
    images_run: FitResult,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.png").write_bytes((folder / "red" / "red 00.png").read_bytes())
    (tmp_path / "damaged.png").write_bytes(b"text")
    words = ["predict", f"run={images_run.run_id}", f"input={tmp_path}", "top_k=3"]
    monkeypatch.setattr("project.core.console.PIPE_WIDTH", 80)
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if not line.startswith("written to ")) <= 80
    cells = [cell.strip() for cell in next(line for line in lines if "a.png" in line).split("│")]
    assert [cell.split()[0] for cell in cells[2:4]] == ["red", cells[3].split()[0]]
    assert 0 < float(cells[2].split()[1]) <= 1
    assert "1 of 2 could not be predicted, see their notes" in lines
    assert main([*words, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["num_rows"], record["num_failed"]) == (2, 1)
    assert [row["file"] for row in record["rows"]] == ["a.png", "damaged.png"]
    assert record["rows"][0]["prediction"] == "red"
    assert record["rows"][1]["prediction"] is None
    assert len(pd.read_csv(record["path"])) == 2


MISTAKES = {
    "no run": (["input=x"], "run: missing: expected a value"),
    "no input": (["run=last"], "input: missing: expected a value"),
    "an unknown key": (["run=last", "inptu=x"], "inptu: unknown key: did you mean 'input'?"),
    "not a number": (["run=last", "input=x", "top_k=many"], "top_k: 'many': expected a valid"),
    "zero": (["run=last", "input=x", "top_k=0"], "top_k: '0': expected greater than or equal to 1"),
    "classes of values": (
        ["run={diabetes}", "input={wine}", "top_k=2"], "top_k: 2: the model predicts no classes"
    ),
    "the input as output": (
        ["run={table}", "input={short}", "output={short}"], "short.csv: is the input file: expected"
    ),
    "a place below a file": (
        ["run={images}", "input={folder}", "output={short}/a.csv"], "/short.csv/a.csv: "
    ),
    "an unknown suffix": (
        ["run={images}", "input=x", "output=a.xls"], "output: a.xls: expected a file nam"
    ),
    "an unknown run": (["run=0123", "input=x"], "run: 0123: there is no such run"),
    "an unknown model": (["run=models:/none@champion", "input=x"], "run: models:/none@champion: "),
    "no such input": (["run={images}", "input=/nowhere"], "input: /nowhere: there is no such file"),
    "a table for images": (["run={images}", "input={wine}"], "the model takes images: exp"),
    "images for a table": (["run={table}", "input={folder}"], "the model takes rows: exp"),
    "no images": (["run={images}", "input={empty}"], "contains no images: expected .png"),
    "a column missing": (["run={table}", "input={short}"], "column 'malic_acid' is missing: expec"),
    "too few columns": (["run={diabetes}", "input={short}"], "2 columns: expected 10 of numbers"),
    "no table": (["run={table}", "input={latin}"], "is not UTF-8"),
    "a folder that can't be written": (
        ["run={images}", "input={folder}", "output=/proc/x/a.csv"], "output: /proc/x/a.csv: "
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(
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
    words, message = MISTAKES[name]
    with pytest.raises(UserError) as caught:
        call(COMMANDS["predict"], [word.format(**known) for word in words])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_trial_of_a_sweep_has_no_model() -> None:
    trial = train(configure("model.width=8", "trainer.max_epochs=1"), log_model=False)
    with pytest.raises(UserError, match="it is FINISHED and has no model: expected"):
        predict(trial.run_id, "anything")
