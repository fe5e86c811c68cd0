"""Comparison files: every lesson is consistent, and a mistake is reported in one line."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compare.files import write
from conftest import command

import project
from project.compare.analysis import load_analysis
from project.compare.command import make_keys
from project.compare.plan import LESSONS, Plan, read_plan
from project.core.errors import UserError
from project.core.types import Spec
from project.models.cnn import CNN
from project.models.mlp import MLP

NAMES = sorted(file.parent.name for file in LESSONS.glob("*/lesson.yaml"))


def read(lesson: str, *overrides: str) -> Plan:
    return read_plan(overrides, lesson)["plan"]


def check_all(lesson: str, *overrides: str) -> dict[tuple[str, int], str]:
    plan = read(lesson, *overrides)
    return make_keys(plan, load_analysis(plan.analysis))


def test_the_documents_list_every_lesson() -> None:
    page = (project.ROOT / "docs" / "compare.md").read_text()
    assert sorted(re.findall(r"^\| `(\w+)` \| [^|]+\? \|$", page, re.M)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_lesson_fits_together(name: str) -> None:
    plan = read(name)
    assert len(plan.seeds) >= 3
    assert plan.claims
    assert plan.file.text.strip()
    keys = make_keys(plan, load_analysis(plan.analysis))
    assert len(keys) == len(plan.variants) * len(plan.seeds)
    assert len(set(keys.values())) == len(keys)


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
    plan = read(path, "trainer.max_epochs=5", "optimizer.lr=9", "compare.seeds=[4]")
    assert list(plan.variants) == [
        f"lr={lr}, batch_size={size}" for lr in (0.01, 0.02) for size in (32, 64)
    ]
    assert plan.seeds == [4]
    assert {config.optimizer["lr"] for config in plan.configs.values()} == {0.01, 0.02}
    assert {config.trainer.max_epochs for config in plan.configs.values()} == {5}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"claims": ["val/loss: fast < sloww"]}, "did you mean 'slow'"),
        ({"claims": ["val/los: fast < slow"]}, "did you mean 'val/loss'"),
        ({"seeds": []}, "seeds"),
        ({"seeds": 0}, "seeds"),
        ({"seeds": [1, 1, 2]}, "each listed once"),
        ({"variants": {}}, "variants: there are none"),
        (
            {"variants": {"a": ["data.batch_size=32"], "b": ["data.batch_size=32"]}, "claims": []},
            "variants: b: equals a: expected distinct variants",
        ),
        ({"variants": {"a": ["optimizer.lrr=1"]}, "claims": []}, "variant a: optimizer.lrr"),
        ({"variants": {"a > b": []}, "claims": []}, "expected a name without"),
        ({"base": ["data=lime"]}, "did you mean 'line'"),
        ({"titel": "x"}, "titel"),
        ({"measure": [], "claims": []}, "measure: "),
        ({"measure": ["val/loss", "val/loss"]}, "measure: val/loss: is listed twice"),
        ({"claims": ["val/loss: fast < nan"]}, "nan: expected a finite number"),
        ({"grid": {"optimizer.lr": [0.1, 0.1]}}, "grid: lr=0.1: there is a variant of that name"),
        ({"variants": {"a": ["seed=7"], "b": []}, "claims": []}, "a: seed=7: expected a key that"),
        ({"for_data": {"line": {"fats": []}}}, "for_data: fats: did you mean 'fast'"),
        ({"for_data": {"lime": {"fast": []}}}, "for_data: lime: did you mean 'line'"),
        ({"final": ["fats"]}, "final: fats: did you mean 'fast'"),
        ({"analysis": "nowhere.py"}, "analysis: nowhere.py: there is no such file"),
        ({"analysis": "mine.yaml"}, "analysis: mine.yaml: expected a .py file inside"),
        ({"analysis": "../other.py"}, "analysis: ../other.py: expected a .py file inside"),
        ({"analysis": "/etc/other.py"}, "analysis: /etc/other.py: expected a .py file inside"),
        ({"analysis": "link.py"}, "analysis: link.py: expected a .py file inside"),
    ],
)
def test_a_mistake_in_the_file_is_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "other.py").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "link.py").symlink_to(tmp_path / "other.py")
    with pytest.raises(UserError, match=message):
        read(write(tmp_path / "mine", **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measure": ["val/accuracy"], "claims": []}, "measure: val/accuracy"),
        ({"measure": ["val/loss", "test/loss"], "final": ["fast"]}, ""),
        ({"measure": ["val/loss", "test/loss"]}, "measure: test/loss"),
    ],
)
def test_metrics_must_be_those_of_the_task(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write(tmp_path, seeds=[1], **changes)
    if not message:
        assert len(check_all(path)) == 2
        return
    with pytest.raises(UserError, match=message):
        check_all(path)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("cnn_anatomy", ["model=mlp"]),
        ("linear_regression", ["model=mlp"]),
        ("supervised_and_unsupervised", ["model=cnn"]),
        ("augmentation", ["model=autoencoder"]),
    ],
)
def test_a_lesson_rejects_models_that_it_cannot_analyse(name: str, overrides: list[str]) -> None:
    with pytest.raises(UserError, match=r"(this analysis needs|unknown key|measure: )"):
        check_all(name, *overrides)


def test_two_files_of_one_name_are_two_comparisons(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    names = {read(write(tmp_path / folder)).name for folder in ("a", "b")}
    assert len(names) == 2
    many = [f"optimizer.weight_decay=0.{'0' * 100}{n}" for n in (1, 2)]
    fast = ("trainer.max_epochs=1", "compare.seeds=1")
    assert len({read("gradient_descent", *fast, each).name for each in many}) == 2


def test_only_the_named_variants_open_the_test_set(tmp_path: Path) -> None:
    path = write(tmp_path, final=["fast"], measure=["val/loss", "test/loss"])
    file = read(path).file
    assert [file.opens_test(name) for name in ("slow", "fast")] == [False, True]


@pytest.mark.parametrize(
    "text", ["title: [", "- a\n- b\n", "\x00", "", "title: a\ntitle: b\n", f"seeds: {'9' * 5000}"]
)
def test_a_file_that_is_not_a_comparison_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml"):
        read(str(path))
    with pytest.raises(UserError, match="did you mean 'augmentation'"):
        read("augmentatoin")
    with pytest.raises(UserError, match="can't be read"):
        read(str(tmp_path / "nowhere.yaml"))


def test_the_command_reports_a_mistake_in_one_line_and_writes_nothing(own_store: Path) -> None:
    path = write(own_store, claims=["val/loss: fast < sloww"])
    done = command("project", "compare", f"lesson={path}")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: claims: val/loss: fast < sloww")
    assert not (own_store / "mlflow.db").exists()
    done = command("project", "compare")
    assert (done.returncode, done.stderr) == (2, "error: lesson: missing: expected a value\n")


def test_reading_a_plan_imports_nothing_heavy(tmp_path: Path) -> None:
    path = write(tmp_path, seeds=[1])
    code = (
        "import sys; from project.compare.plan import read_plan; "
        f"read_plan([], {path!r}); "
        "print({'torch', 'lightning', 'albumentations', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
