"""Schemas are read without importing the classes they describe, and agree with them."""

import inspect
import json
import subprocess
import sys

import pytest
from pydantic_core import PydanticUndefined

import project
from project.config.check import KINDS, LIBRARY_FILE, arguments_of
from project.config.compose import CONF, compose
from project.config.library import describe_libraries
from project.config.signatures import RUN_TIME, read_signature

HEAVY = ("torch", "lightning", "albumentations", "torchvision")


def test_the_library_file_matches_the_installed_versions() -> None:
    assert json.loads(LIBRARY_FILE.read_text()) == describe_libraries()


def targets() -> list[tuple[str, str]]:
    pairs = set()
    for group in ("data", "model", "scheduler"):
        for file in (CONF / group).glob("*.yaml"):
            node = compose("train", [f"{group}={file.stem}"])[group]
            pairs.add((group, node["_target_"]))
    return sorted(pairs)


@pytest.mark.parametrize(("group", "target"), targets())
def test_a_schema_read_from_source_is_that_of_the_imported_object(group: str, target: str) -> None:
    module, _, name = target.rpartition(".")
    imported = getattr(__import__(module, fromlist=[name]), name)
    fields = arguments_of(target).model_fields
    parameters = inspect.signature(imported).parameters
    expected = [key for key in parameters if key not in RUN_TIME]
    assert list(fields) == expected
    for key in expected:
        default = parameters[key].default
        if default is inspect.Parameter.empty:
            assert fields[key].default is PydanticUndefined
        else:
            assert fields[key].default == default
    signature = read_signature(target)
    assert signature is not None
    assert KINDS[group] in signature.kinds or group == "scheduler"


def test_every_searched_or_shown_argument_is_described() -> None:
    for _, target in targets():
        signature = read_signature(target)
        assert signature is not None
        for name, parameter in signature.parameters.items():
            assert parameter.description or name in RUN_TIME, (target, name)


@pytest.mark.parametrize(
    "override",
    ["", "model.dropot=1", "optimizer.lr=0", "optimizer._target_=torch.optim.Nothing", "data=nope"],
)
def test_checking_a_config_imports_no_heavy_library(override: str) -> None:
    code = (
        "import sys\n"
        "from project.config.check import check\n"
        "from project.config.compose import compose\n"
        "from project.core.errors import UserError\n"
        "try:\n"
        f"    check(compose('train', {[override] if override else []}))\n"
        "except UserError:\n"
        "    pass\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
