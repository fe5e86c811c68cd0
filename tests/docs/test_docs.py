"""README and docs: commands run, examples work, and every name they mention exists."""

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from conftest import configure, use_store
from docs.pages import PAGES, README, blocks, commands

import project
from project.config.compose import CONF

Run = Callable[[str], "subprocess.CompletedProcess[str]"]
DATA = project.ROOT / "docs" / "data.md"
COMPARE = project.ROOT / "docs" / "compare.md"
TESTED_ELSEWHERE = ("make ui", "make test", "make serve RUN=last")
QUICK = ("make train", "python -m project train --help")


@pytest.mark.parametrize(
    "line",
    [
        line if line in QUICK else pytest.param(line, marks=pytest.mark.slow)
        for line in commands()
        if line not in TESTED_ELSEWHERE
    ],
)
def test_every_command_works_in_a_fresh_copy(line: str, clone: Path, run: Run) -> None:
    done = run(line)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not (clone / "lightning_logs").exists()
    if line == "make train":
        score = float(re.findall(r"val/accuracy (\d\.\d+) at epoch", done.stdout)[0])
        assert score >= 0.97
        run_id = re.findall(r"^run (\w{32})$", done.stdout, re.M)[0]
        assert f"make evaluate RUN={run_id}" in done.stdout
        assert "make ui" in done.stdout


def test_readme_runs_the_command_of_ci() -> None:
    assert "make test" in [line for block in blocks(README, "bash") for line in block.splitlines()]
    assert (project.ROOT / ".ci" / "run").read_text().endswith("make lint\nmake test\n")


def test_a_mistake_is_reported_as_shown(run: Run) -> None:
    (shown,) = [block for block in blocks(README, "text") if block.startswith("$ ")]
    line, expected = shown.removeprefix("$ ").split("\n", 1)
    done = run(line)
    assert done.returncode == 2
    assert done.stderr.startswith(expected)
    assert done.stdout == ""


def test_make_alone_lists_every_target(clone: Path, run: Run) -> None:
    done = run("make")
    assert done.returncode == 0
    phony = re.findall(r"^\.PHONY: (.*)$", (clone / "Makefile").read_text(), re.M)[0].split()
    for target in phony:
        assert re.search(rf"^  {target} +\w", done.stdout, re.M), target


def test_an_install_is_skipped_when_nothing_changed(clone: Path, run: Run) -> None:
    assert "pip" not in run("make --dry-run train").stdout
    os.utime(clone / "constraints.txt", (2**31, 2**31))
    assert "pip install" in run("make --dry-run train").stdout
    os.utime(clone / "constraints.txt", (0, 0))


def test_the_example_model_trains_with_the_example_augmentation(clone: Path, run: Run) -> None:
    _write_example(clone, README, "model", "models", "tiny")
    text = next(block for block in blocks(README, "yaml") if "blur" in block)
    assert set(yaml.safe_load(text)) == {"blur"}
    (clone / "conf" / "augment" / "blur.yaml").write_text(text)
    arguments = "augment=blur model.width=8 trainer.max_epochs=1 data.limit_train=200"
    done = run(f'make train MODEL=tiny ARGS="{arguments}"')
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_example_model_keeps_the_contract_of_all_models(clone: Path, run: Run) -> None:
    _write_example(clone, README, "model", "models", "tiny")
    shutil.copytree(project.ROOT / "tests", clone / "tests", dirs_exist_ok=True)
    files = "tests/models/test_models.py tests/sweep/test_space.py"
    done = run(f".venv/bin/python -m pytest -q -p no:cacheprovider {files} -k tiny")
    assert done.returncode == 0, done.stdout


def test_the_example_data_set_trains_without_further_options(clone: Path, run: Run) -> None:
    _write_example(clone, DATA, "data", "data", "mine")
    done = run('make train DATA=mine ARGS="trainer.max_epochs=1"')
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_examples_pass_the_checks_of_lint(clone: Path, run: Run) -> None:
    model = _write_example(clone, README, "model", "models", "tiny").relative_to(clone)
    data = _write_example(clone, DATA, "data", "data", "mine").relative_to(clone)
    analysis = _write_example_comparison(clone).relative_to(clone)
    cache = project.ROOT / ".mypy_cache"  # a cold start takes minutes
    for line in (
        f"ruff check {model} {data} {analysis}",
        f"ruff format --check {model} {data} {analysis}",
        f"mypy --cache-dir '{cache}' {model} {data} {analysis}",
    ):
        done = run(line)
        assert done.returncode == 0, done.stdout + done.stderr
    problems = run(".venv/bin/python tools/check_source.py").stdout
    assert str(model) not in problems
    assert str(data) not in problems


def _write_example(clone: Path, page: Path, group: str, folder: str, name: str) -> Path:
    """Writes a page's example of a model or a data set, and its YAML, into a clone."""
    (code,) = blocks(page, "python")
    text = next(block for block in blocks(page, "yaml") if name in block)
    (clone / "conf" / group / f"{name}.yaml").write_text(text)
    file = clone / "project" / folder / f"{name}.py"
    file.write_text(code)
    return file


def _write_example_comparison(clone: Path) -> Path:
    (code,) = blocks(COMPARE, "python")
    text = next(block for block in blocks(COMPARE, "yaml") if "question:" in block)
    node = yaml.safe_load(text)
    folder = clone / "mine"
    folder.mkdir(exist_ok=True)
    (folder / "mine.yaml").write_text(text)
    node |= {"analysis": "parameters.py", "measure": [*node["measure"], "model/parameters"]}
    node["claims"].append("model/parameters: wide > narrow")
    (folder / "measured.yaml").write_text(yaml.safe_dump(node))
    file = folder / "parameters.py"
    file.write_text(code)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mine", "measured"])
def test_the_example_comparison_is_judged(name: str, clone: Path, run: Run) -> None:
    _write_example_comparison(clone)
    arguments = "compare.seeds=3 trainer.max_epochs=1 data.limit_train=200"
    done = run(f'make compare LESSON=mine/{name}.yaml ARGS="{arguments}"')
    assert done.returncode == 0, done.stderr
    assert ": best/accuracy: wide > narrow (" in done.stdout
    assert ("holds: model/parameters: wide > narrow (" in done.stdout) == (name == "measured")
    assert list((clone / "mlruns" / "reports").glob(f"{name}-*.html"))


def test_images_exist_and_are_small() -> None:
    images = [
        page.parent / name
        for page in PAGES
        for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page.read_text())
    ]
    assert sum(image.parent.parent == project.ROOT for image in images) >= 4
    for image in images:
        assert image.stat().st_size < 150_000, image


def test_links_lead_somewhere() -> None:
    for page in (*PAGES, project.ROOT / "CONTRIBUTING.md", project.ROOT / "CHANGELOG.md"):
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link.partition("#")[0]).exists(), (page.name, link)


def test_files_that_contributors_are_sent_to_exist() -> None:
    text = (project.ROOT / "CONTRIBUTING.md").read_text()
    folders = "project|conf|lessons|tests|docs|tools"
    names = re.findall(rf"`((?:{folders})/[\w./]*)`", text)
    assert len(names) > 15
    for name in names:
        new = re.search(r"/x\b", name)  # stands for a file that is to be written
        assert new or (project.ROOT / name).exists(), name


def test_readme_is_a_first_page() -> None:
    assert len(README.read_text().splitlines()) <= 250


def test_the_tree_names_what_exists_and_every_folder_of_the_project() -> None:
    tree = next(block for block in blocks(README, "text") if block.startswith("conf/"))
    names = [
        name.rstrip("/") for line in tree.splitlines() for name in line.split("  ")[0].split(", ")
    ]
    for name in names:
        assert name == "mlruns" or (project.ROOT / name).exists(), name
    folders = {each.parent.name for each in (project.ROOT / "project").glob("*/__init__.py")}
    assert folders <= {name.removeprefix("project/") for name in names}


def test_the_table_of_groups_is_complete() -> None:
    text = README.read_text()
    text = text[text.index("| group | options |") :]
    table = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", text, re.M))
    assert set(table) == {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    for group, options in table.items():
        if group == "experiment":
            continue
        for file in (CONF / group).glob("*.yaml"):
            assert f"`{file.stem}`" in options, (group, file.stem)


def test_the_image_of_the_layers_shows_those_that_are_enforced() -> None:
    settings = tomllib.loads((project.ROOT / "pyproject.toml").read_text())
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    layers = {name.strip() for line in contract["layers"] for name in line.split("|")}
    drawn = re.findall(r">([\w./ ]+)</text>", (project.ROOT / "docs" / "layers.svg").read_text())
    assert {name.removeprefix("project.") for name in layers} <= {
        name.rstrip("/") for name in drawn
    }


def test_keys_that_scripts_rely_on_exist(tmp_path: Path) -> None:
    with use_store(tmp_path):
        flat = configure("data=fashion_mnist").flatten()
    names = (
        "seed data.root data.batch_size data.num_workers data.limit_train data.splits.train "
        "data.splits.val data.splits.test trainer.max_epochs trainer.devices trainer.precision "
        "optimizer.lr optimizer.weight_decay model.dropout"
    )
    assert set(names.split()) <= set(flat)
