"""Lesson files: every shipped one fits, and a mistake in one's own is one clear line."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import command

from project.compare.command import main
from project.compare.plan import LESSONS, read_lesson
from project.core.errors import UserError
from project.core.types import Spec
from project.models.cnn import CNN
from project.models.mlp import MLP

NAMES = sorted(file.parent.name for file in LESSONS.glob("*/lesson.yaml"))
GOOD: dict[str, Any] = {
    "title": "Two rates",
    "question": "Which is better?",
    "base": ["data=line", "trainer.max_epochs=2"],
    "variants": {"slow": ["optimizer.lr=0.001"], "fast": ["optimizer.lr=0.1"]},
    "seeds": 3,
    "measure": ["val/loss"],
    "claims": ["val/loss: fast < slow"],
}


def write(folder: Path, **changes: Any) -> str:
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}, sort_keys=False))
    return str(path)


def test_there_are_the_nine_lessons() -> None:
    assert len(NAMES) == 9


@pytest.mark.parametrize("name", NAMES)
def test_every_lesson_fits_together(name: str) -> None:
    lesson = read_lesson(name)
    assert len(lesson.seeds) >= 3
    assert lesson.claims
    assert lesson.file.text.strip()
    assert len({run.key for run in lesson.runs}) == len(lesson.runs)


@pytest.mark.parametrize(("side", "widths"), [(8, (80, 24)), (28, (41, 24))])
def test_mlp_and_cnn_of_the_lesson_are_equally_large(side: int, widths: tuple[int, int]) -> None:
    file = yaml.safe_load((LESSONS / "mlp_vs_cnn" / "lesson.yaml").read_text())
    lines = file["variants"] if side == 8 else {**file["variants"], **file["for_data"]["mnist"]}
    assert f"model.width={widths[0]}" in lines["mlp"]
    assert f"model.width={widths[1]}" in lines["cnn"]
    spec = Spec("classification", (side, side, 1), tuple("0123456789"), (0.0,), (1.0,))
    mlp, cnn = MLP(spec, widths[0]), CNN(spec, widths[1])
    first, second = (sum(p.numel() for p in model.parameters()) for model in (mlp, cnn))
    assert abs(first - second) < 0.05 * second


def test_later_overrides_replace_earlier_ones_and_the_grid_is_spanned(tmp_path: Path) -> None:
    grid = {"optimizer.lr": [0.01, 0.02], "data.batch_size": [32, 64]}
    path = write(tmp_path, variants={}, grid=grid, claims=[], seeds=[7, 9])
    lesson = read_lesson(path, ["trainer.max_epochs=5", "optimizer.lr=9", "compare.seeds=[4]"])
    assert lesson.variants == [
        f"lr={lr}, batch_size={size}" for lr in (0.01, 0.02) for size in (32, 64)
    ]
    assert lesson.seeds == [4]
    assert {run.config.optimizer["lr"] for run in lesson.runs} == {0.01, 0.02}
    assert {run.config.trainer.max_epochs for run in lesson.runs} == {5}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"claims": ["val/loss: fast < sloww"]}, "did you mean 'slow'"),
        ({"claims": ["val/los: fast < slow"]}, "did you mean 'val/loss'"),
        ({"measure": ["val/accuracy"], "claims": []}, "measure: val/accuracy"),
        ({"seeds": []}, "seeds"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": [1, 1, 2]}, "each once"),
        ({"variants": {}}, "variants: there are none"),
        (
            {"variants": {"a": ["data.batch_size=32"], "b": ["data.batch_size=32"]}, "claims": []},
            "variants: b: it is the same as a",
        ),
        ({"variants": {"a": ["optimizer.lrr=1"]}, "claims": []}, "variant a: optimizer.lrr"),
        ({"variants": {"a > b": []}, "claims": []}, "expected a name without"),
        ({"base": ["data=lime"]}, "did you mean 'line'"),
        ({"titel": "x"}, "titel"),
        ({"measure": [], "claims": []}, "measure: "),
        ({"measure": ["val/loss", "val/loss"]}, "measure: val/loss: it is there twice"),
        ({"claims": ["val/loss: fast < nan"]}, "nan: expected a finite number"),
        ({"grid": {"optimizer.lr": [0.1, 0.1]}}, "grid: lr=0.1: there is a variant of that name"),
        ({"variants": {"a": ["seed=7"], "b": []}, "claims": []}, "a: seed=7: it is the same for"),
        ({"for_data": {"line": {"fats": []}}}, "for_data: fats: did you mean 'fast'"),
        ({"for_data": {"lime": {"fast": []}}}, "for_data: lime: did you mean 'line'"),
        ({"final": ["fats"]}, "final: fats: did you mean 'fast'"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_lesson(write(tmp_path, **changes))


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("cnn_anatomy", ["model=mlp"]),
        ("linear_regression", ["model=mlp"]),
        ("supervised_and_unsupervised", ["model=cnn"]),
        ("augmentation", ["model=autoencoder"]),
    ],
)
def test_a_lesson_refuses_what_it_cannot_look_into(name: str, overrides: list[str]) -> None:
    with pytest.raises(UserError, match=r"(this lesson looks into|unknown key|measure: )"):
        read_lesson(name, overrides)


def test_two_files_of_one_name_are_two_comparisons(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    names = {read_lesson(write(tmp_path / folder)).name for folder in ("a", "b")}
    assert len(names) == 2
    long = [f"trainer.max_epochs={n}" for n in range(1, 3)]
    many = [f"optimizer.weight_decay=0.{'0' * 100}{n}" for n in (1, 2)]
    assert len({read_lesson("gradient_descent", [long[0], each]).name for each in many}) == 2


def test_only_the_named_variants_open_the_test_set(tmp_path: Path) -> None:
    path = write(tmp_path, final=["fast"], measure=["val/loss", "test/loss"])
    file = read_lesson(path).file
    assert [file.opens_test(name) for name in ("slow", "fast")] == [False, True]


@pytest.mark.parametrize(
    "text", ["title: [", "- a\n- b\n", "\x00", "", "title: a\ntitle: b\n", f"seeds: {'9' * 5000}"]
)
def test_what_is_no_lesson_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml"):
        read_lesson(str(path))
    with pytest.raises(UserError, match="did you mean 'augmentation'"):
        read_lesson("augmentatoin")
    with pytest.raises(UserError, match="can't be read"):
        read_lesson(str(tmp_path / "nowhere.yaml"))


def test_the_command_answers_in_one_line_and_writes_nothing(own_store: Path) -> None:
    path = write(own_store, claims=["val/loss: fast < sloww"])
    done = command("project.compare.command", f"lesson={path}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: claims: val/loss: fast < sloww")
    assert not (own_store / "mlflow.db").exists()
    with pytest.raises(UserError, match="lesson"):
        main([])
