"""The command line: help, typed arguments, exit codes and JSON of every command."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest
from annotated_types import MinLen
from conftest import command

import project
from project.cli.arguments import read_arguments
from project.cli.commands import COMMANDS, Command
from project.cli.main import main, to_json
from project.config.signatures import REQUIRED, load, signature_of

HEAVY = ("torch", "lightning", "albumentations", "torchvision", "mlflow")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_same_kind_of_help(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    described = COMMANDS[name]
    assert text.startswith(f"python -m project {name} [key=value ...] [--json]\n\n")
    assert signature_of(described.target).summary in text
    assert f"Example:\n  python -m project {name} {described.example}" in text
    for key, parameter in described.parameters.items():
        assert f"\n  {key} " in text
        assert parameter.description, key
    assert ("Config keys with" in text) == bool(described.reader)
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize("name", COMMANDS)
def test_the_signature_that_is_read_is_that_of_the_function(name: str) -> None:
    function = load(COMMANDS[name].target)
    assert list(inspect.signature(function).parameters) == list(
        signature_of(COMMANDS[name].target).parameters
    )
    if inspect.signature(function).return_annotation not in (None, "None"):
        assert callable(load(f"{function.__module__}.show"))


def test_alone_it_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    for name, each in COMMANDS.items():
        assert f"\n  {name} " in text
        assert signature_of(each.target).summary.split()[0] in text


def test_config_keys_are_those_of_the_chosen_options(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--help", "model=resnet", "data=diabetes"])
    text = capsys.readouterr().out
    assert "model=resnet" in text
    assert "optimizer=sgd" in text  # chosen by the data set
    assert "\n  model.width " in text
    assert "\n  model.norm " in text
    assert "\n  data.image_size " not in text
    assert re.search(r"\n  optimizer\.lr  \(float > 0, default ", text)
    main(["train", "--help", "experiment=digits_cnn", "augment=full"])
    text = capsys.readouterr().out
    assert re.search(r"\n  trainer\.max_epochs  \(int >= 1, default 30\)", text)
    assert re.search(r"\n  augment\.reflection\.p  ", text)


MISTAKES = {
    ("trian",): "trian: unknown command: did you mean 'train'?",
    ("runs", "limt=3"): "limt: unknown key: did you mean 'limit'?",
    ("runs", "limit=many"): "limit: 'many': expected a valid integer",
    ("runs", "limit=0"): "limit: '0': expected greater than or equal to 1",
    ("runs", "5"): "5: expected key=value",
    ("export", "run=last", "format=onx"): "format: 'onx': expected 'onnx' or 'pt2'",
    ("evaluate", "run="): "run: missing: expected a value",
    ("evaluate", "run=last", "robustness=maybe"): "robustness: 'maybe': expected a valid boolean",
    ("ui", "port=70000"): "port: '70000': expected less than or equal to 65535",
    ("predict", "run=last"): "input: missing: expected a value",
    ("train", "model.dropot=0.3"): "model.dropot: unknown key: did you mean 'dropout'?",
    ("sweep", "sweep.trails=3"): "sweep.trails: unknown key: did you mean 'trials'?",
    ("train", "resum=last"): "resum: unknown key: did you mean 'resume'?",
    ("compare", "leson=mlp_vs_cnn"): "leson: unknown key: did you mean 'lesson'?",
    ("runs", "limit="): "limit: '': expected a valid integer",
    (
        "train",
        "augment=full",
        "augment.reflecton.p=0.1",
    ): "augment.reflecton: unknown transform: did you",
    ("train", "model=cn", "--help"): "model: cn: did you mean 'cnn'?",
    ("compare", "lesson=mlp_vs_cn"): "lesson: mlp_vs_cn: did you mean 'mlp_vs_cnn'?",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: tuple[str, ...], own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"error: {MISTAKES[words]}")
    assert printed.err.count("\n") == 1
    assert list(own_store.iterdir()) == []


def test_text_of_a_least_length_is_not_taken_for_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    parameter = SimpleNamespace(annotation=Annotated[str, MinLen(1)], default=REQUIRED)
    monkeypatch.setattr(Command, "parameters", {"name": parameter})
    assert read_arguments(Command("", ""), ["name=digits"]) == {"name": "digits"}


def run_fresh(words: tuple[str, ...], modules: tuple[str, ...]) -> list[Any]:
    """Exit code of a command in a fresh interpreter, and which of the modules it imported."""
    code = (
        "import json, sys\n"
        "from project.cli.main import main\n"
        f"code = main({list(words)})\n"
        f"imported = [name for name in {modules} if name in sys.modules]\n"
        "print(json.dumps([code, imported]), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.ROOT, capture_output=True, text=True, check=True
    )
    result: list[Any] = json.loads(done.stderr.splitlines()[-1])
    return result


@pytest.mark.parametrize("words", [*(words for words in MISTAKES), ("train", "--help"), ()])
def test_help_and_mistakes_import_nothing_heavy(words: tuple[str, ...], own_store: Path) -> None:
    assert run_fresh(words, HEAVY)[1] == []


@pytest.mark.parametrize(
    "words",
    [
        ("runs",),
        ("diff", "first=last", "second=last"),
        ("evaluate", "run=abcdef"),
        ("train", "resume=abcdef"),
    ],
)
def test_what_needs_only_the_store_imports_no_torch(
    words: tuple[str, ...], digits_run: Any
) -> None:
    expected = 2 if any("abcdef" in word for word in words) else 0
    assert run_fresh(words, HEAVY[:-1]) == [expected, []]


def test_json_is_one_object_on_stdout_and_the_rest_goes_to_stderr() -> None:
    words = ("model.width=8", "trainer.max_epochs=1", "data.limit_train=320", "--json")
    done = command("project", "train", *words)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert result["score_name"] == "accuracy"
    assert result["best_epoch"] == result["num_epochs"] == 1
    assert result["metrics"]["accuracy"] == result["score"]
    assert "epoch" in done.stderr


def test_lists_are_one_object_per_line(digits_run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "limit=2", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert 1 <= len(rows) <= 2
    assert all(row["id"] and row["status"] for row in rows)


def test_values_that_json_has_not_are_replaced() -> None:
    values = {"nan": float("nan"), "array": np.array([1.5, np.inf]), "path": Path("a/b"), 3: (1,)}
    expected = '{"nan": null, "array": [1.5, null], "path": "a/b", "3": [1]}'
    assert to_json(values) == expected
    with pytest.raises(TypeError, match="to_dict"):
        to_json({"object": object()})


@pytest.mark.parametrize(
    "order",
    [
        "import project.train, project.sweep; from project.api import train, sweep",
        "from project.api import train, sweep; import project.train, project.sweep",
    ],
)
def test_the_functions_of_notebooks_are_functions_in_any_order_of_imports(order: str) -> None:
    code = f"{order}; assert type(train).__name__ == type(sweep).__name__ == 'function'"
    subprocess.run([sys.executable, "-c", code], cwd=project.ROOT, check=True)


def test_a_notebook_s_call_returns_the_record(
    own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from project.api import train

    result = train("data=line", "trainer.max_epochs=2")
    assert result.num_epochs == 2
    assert capsys.readouterr().out == ""
