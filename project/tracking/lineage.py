"""Where a run comes from: code, packages, command line and data."""

import getpass
import hashlib
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path
from subprocess import DEVNULL, PIPE, CompletedProcess, Popen
from typing import Any, Protocol

import numpy as np
from mlflow.data.numpy_dataset import from_numpy
from mlflow.entities import DatasetInput, InputTag

from project import ROOT
from project.config.check import Config

MAX_FILE = 1_000_000  # bytes; a larger new file is not taken for code
HASHED = ("project/config", "project/data", "project/models", "project/training")


class Data(Protocol):
    """What is logged of a ``DataModule``, whose own module is slow to import."""

    split: Any
    train: Any
    val: Any
    duplicates: dict[str, int]
    fingerprints: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all splits together."""


def run_command(command: Sequence[str], **options: Any) -> "CompletedProcess[str]":
    """Runs a command and reads its stdout; lets it clean up when this process is stopped."""
    with Popen(command, text=True, stdout=PIPE, errors="surrogateescape", **options) as process:
        try:
            output, errors = process.communicate()
        except BaseException:
            process.terminate()
            process.wait(60)
            raise
    return CompletedProcess(command, process.returncode, output, errors)


def read_git(*arguments: str, **variables: str) -> str:
    """Output of git with these environment variables; empty if git fails."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", **variables}
    try:
        done = run_command(["git", *arguments], cwd=ROOT, env=environment, stderr=DEVNULL)
    except OSError:
        return ""
    return "" if done.returncode else done.stdout


def source_tags() -> dict[str, str]:
    """MLflow's own tags of a run's source, with the commit of this project."""
    user = ""
    with suppress(OSError, KeyError):  # The system may have no name for the user.
        user = getpass.getuser()
    # MLflow's resolver takes the commit of the repository around argv[0], and none in a worker.
    return {
        "mlflow.source.name": command_line(),
        "mlflow.source.type": "LOCAL",
        "mlflow.user": user,
        "mlflow.source.git.commit": commit(),
    }


@cache  # The code that runs is that of the moment when the process began.
def commit() -> str:
    """The commit that is checked out; empty outside a repository."""
    return read_git("rev-parse", "HEAD").strip()


@cache
def uncommitted() -> str:
    """A diff of everything that differs from the commit, including new files of up to 1 MB."""
    folder = read_git("rev-parse", "--absolute-git-dir").strip()
    if not folder:
        return ""
    # A copy of the index takes the new files, so that the user's own stays as it is.
    with tempfile.TemporaryDirectory() as temporary:
        index = Path(temporary) / "index"
        if (Path(folder) / "index").exists():
            shutil.copy(Path(folder) / "index", index)
        new = read_git("ls-files", "--others", "--exclude-standard", "-z").split("\0")
        if small := [name for name in new if name and _is_small(ROOT / name)]:
            read_git("add", "--intent-to-add", "--", *small, GIT_INDEX_FILE=str(index))
        # The diff must apply again, whatever the user's settings make of diffs.
        plain = ("--no-color", "--no-ext-diff", "--src-prefix=a/", "--dst-prefix=b/")
        diff = read_git("diff", "HEAD", "--binary", *plain, GIT_INDEX_FILE=str(index))
        return diff.encode(errors="surrogateescape").decode(errors="replace")


def _is_small(file: Path) -> bool:
    try:
        return file.lstat().st_size <= MAX_FILE
    except OSError:
        return False


@cache
def source_hash() -> str:
    """SHA-256 of the code that determines the numbers of a run, and of torch's version."""
    files = (file for folder in HASHED for file in sorted((ROOT / folder).rglob("*.py")))
    code = b"".join(file.read_bytes() for file in files)
    return hashlib.sha256(version("torch").encode() + code).hexdigest()


@cache
def packages() -> str:
    """The installed packages, one ``name==version`` per line."""
    # If two have the same name, such as one inside setuptools, the first is imported.
    versions = {each.metadata["Name"]: each.version for each in reversed([*distributions()])}
    lines = [f"{name}=={version}" for name, version in versions.items()]
    return "\n".join(sorted(lines, key=str.lower)) + "\n"


def parse_packages(text: str) -> dict[str, str]:
    """Versions by package name, from lines ``name==version``; without suffixes of local builds."""
    pairs = (line.partition("==") for line in text.splitlines() if "==" in line)
    return {name.lower().replace("_", "-"): version.partition("+")[0] for name, _, version in pairs}


def command_line() -> str:
    """The command of this process, ready to be pasted; passwords in addresses are masked."""
    arguments = list(sys.argv)
    if arguments and arguments[0].endswith(".py") and Path(arguments[0]).is_relative_to(ROOT):
        module = Path(arguments[0]).relative_to(ROOT).with_suffix("")
        parts = [part for part in module.parts if part != "__main__"]
        arguments[:1] = ["python", "-m", ".".join(parts)]
    return re.sub(r"(://[^/\s:@]*:)[^/\s@]+@", r"\1***@", shlex.join(arguments))


def run_tags(config: Config, data: Data | None = None) -> dict[str, str]:
    """Tags that identify a run and its data, as far as they could be built."""
    model, source = config.model_name, config.data_name
    tags = {"mlflow.runName": f"{model}-{source}", "model": model, "data": source}
    if data is not None:
        tags["split.fingerprint"] = data.fingerprint
        tags["split.test_fingerprint"] = data.fingerprints["test"]
        tags |= {f"split.duplicates.{pair}": str(count) for pair, count in data.duplicates.items()}
    return tags


def dataset_inputs(config: Config, data: Data) -> list[DatasetInput]:
    """MLflow's records of the train and val splits: digest, shapes and sizes."""
    records = []
    for split, samples in (("train", data.train), ("val", data.val)):
        # MLflow logs only shape and type, for which no rows of a file need be read.
        inputs = np.broadcast_to(np.zeros((), samples.inputs.dtype), samples.inputs.shape)
        name, digest = f"{config.data_name}-{split}", data.fingerprints[split][:36]
        dataset = from_numpy(inputs, targets=samples.targets, name=name, digest=digest)
        tags = [InputTag("mlflow.data.context", split)]
        records.append(DatasetInput(dataset._to_mlflow_entity(), tags))
    return records
