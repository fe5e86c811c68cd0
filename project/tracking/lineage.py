"""Where a run comes from: code, packages, command line and data."""

import getpass
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from mlflow.data.numpy_dataset import from_numpy
from mlflow.entities import DatasetInput, InputTag

from project import ROOT

MAX_FILE = 1_000_000  # bytes; a larger new file is not taken for code


class Samples(Protocol):
    """Inputs and targets of one split."""

    inputs: Any
    targets: Any


class Data(Protocol):
    """The splits of a data set: a ``DataModule``, whose imports are too slow for this package.

    Attributes:
        split: Sample indices of each split.
        duplicates: Number of samples that occur in both splits of a pair, by pair.
        fingerprints: SHA-256 of each split by name.
    """

    split: Any
    duplicates: dict[str, int]
    fingerprints: dict[str, str]

    @property
    def train(self) -> Samples:
        """Training split."""

    @property
    def val(self) -> Samples:
        """Validation split."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all splits together."""


def git(*arguments: str, index: Path | None = None) -> str:
    """What git prints in the project's folder; empty where there is no git or no repository."""
    environment = {"GIT_INDEX_FILE": str(index)} if index else {}
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=ROOT,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", **environment},
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def source_tags() -> dict[str, str]:
    """MLflow's own tags of who started what."""
    return {
        "mlflow.source.name": command_line(),
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user(),
        "mlflow.source.git.commit": commit(),
    }


@cache  # what runs is the code that was there when the process began
def commit() -> str:
    """The commit that is checked out; empty outside a repository."""
    return git("rev-parse", "HEAD").strip()


@cache
def uncommitted() -> str:
    """A diff of everything that differs from the commit, new files of up to 1 MB included."""
    folder = git("rev-parse", "--absolute-git-dir").strip()
    if not folder:
        return ""
    # In a copy of the index, so that the user's own stays as it is.
    with tempfile.TemporaryDirectory() as temporary:
        index = Path(temporary) / "index"
        if (Path(folder) / "index").exists():
            shutil.copy(Path(folder) / "index", index)
        new = git("ls-files", "--others", "--exclude-standard", "-z").split("\0")
        small = [name for name in new if name and _is_small(ROOT / name)]
        if small:
            git("add", "--intent-to-add", "--", *small, index=index)
        # Whatever the user's settings make of a diff, this one is to be applied again.
        plain = ("--no-color", "--no-ext-diff", "--src-prefix=a/", "--dst-prefix=b/")
        diff = git("diff", "HEAD", "--binary", *plain, index=index)
        return diff.encode(errors="surrogateescape").decode(errors="replace")


def _is_small(file: Path) -> bool:
    try:
        return file.lstat().st_size <= MAX_FILE
    except OSError:
        return False


@cache
def source_hash(*packages: str) -> str:
    """SHA-256 over the code that decides the numbers of a run, and the version of torch.

    Args:
        packages: further ones of this project, by name.
    """
    digest = hashlib.sha256(version("torch").encode())
    for package in (".", "models", "data", *packages):
        for file in sorted((ROOT / "project" / package).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


@cache
def packages() -> str:
    """The installed packages, one ``name==version`` a line."""
    # Of two of one name, such as one inside setuptools, the first is what is imported.
    found: dict[str, str] = {}
    for each in distributions():
        found.setdefault(each.metadata["Name"], each.version)
    lines = [f"{name}=={version}" for name, version in found.items()]
    return "\n".join(sorted(lines, key=str.lower)) + "\n"


def parse_packages(text: str) -> dict[str, str]:
    """Versions by package name, from lines ``name==version``; without suffixes of local builds."""
    pairs = (line.partition("==") for line in text.splitlines() if "==" in line)
    return {name.lower().replace("_", "-"): version.partition("+")[0] for name, _, version in pairs}


def user() -> str:
    """Who runs this; empty where the system has no name for them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def command_line() -> str:
    """The command that runs this process, ready to be pasted but for passwords in addresses."""
    arguments = list(sys.argv)
    if arguments and arguments[0].endswith(".py") and Path(arguments[0]).is_relative_to(ROOT):
        module = Path(arguments[0]).relative_to(ROOT).with_suffix("")
        parts = [part for part in module.parts if part != "__main__"]
        arguments[:1] = ["python", "-m", ".".join(parts)]
    return re.sub(r"(://[^/\s:@]*:)[^/\s@]+@", r"\1***@", shlex.join(arguments))


def data_tags(data: Data) -> dict[str, str]:
    """Tags of a run that tell its data from others."""
    return {
        "split.fingerprint": data.fingerprint,
        "split.test_fingerprint": data.fingerprints["test"],
        **{f"split.duplicates.{pair}": str(count) for pair, count in data.duplicates.items()},
    }


def describe_split(data: Data) -> dict[str, Any]:
    """Fingerprints and sample indices of all splits, as JSON holds them."""
    indices = {name: each.tolist() for name, each in vars(data.split).items()}
    return {"fingerprint": data.fingerprint, "sha256": data.fingerprints, **indices}


def dataset_inputs(data: Data, name: str) -> list[DatasetInput]:
    """MLflow's records of the train and val splits: digest, shapes and sizes."""
    records = []
    for split, samples in (("train", data.train), ("val", data.val)):
        inputs = samples.inputs  # MLflow logs their shape and type.
        if not isinstance(inputs, np.ndarray):  # Rows of a file are not read for that.
            inputs = np.broadcast_to(np.zeros((), inputs.dtype), inputs.shape)
        dataset = from_numpy(
            inputs,
            targets=samples.targets,
            name=f"{name}-{split}",
            digest=data.fingerprints[split][:36],
        )
        tags = [InputTag("mlflow.data.context", split)]
        records.append(DatasetInput(dataset._to_mlflow_entity(), tags))
    return records
