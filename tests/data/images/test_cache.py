"""The cache of decoded images: built once, never stale or half written, low in memory."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import configure
from data.own_data import write_classes
from PIL import Image

import project
from project.config.build import build_data, read_samples
from project.data import samples
from project.data.images import cache
from project.data.images.source import images
from project.data.module import DataModule
from project.data.source import Rows
from project.evaluate import evaluate
from project.serving.export import export
from project.train import train


def test_files_are_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = images(str(folder), image_size=8)

    def fail(*arguments: object) -> None:
        raise AssertionError("decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(cache.decode, "decode_file", fail)
        again = images(str(folder), image_size=8)
        np.testing.assert_array_equal(first.inputs[:], again.inputs[:])
        for file in folder.rglob("*.png"):  # touched or moved, with the same content
            os.utime(file, (1, 1))
        images(str(folder), image_size=8)
        folder.rename(folder.parent / "moved")
        images(str(folder.parent / "moved"), image_size=8)
        with pytest.raises(AssertionError, match="decoded again"):
            images(str(folder.parent / "moved"), image_size=9)


def test_a_changed_file_is_detected_despite_its_old_date(folder: Path) -> None:
    file = folder / "red" / "red 00.png"
    before, status = images(str(folder), image_size=8), file.stat()
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = images(str(folder), image_size=8)
    changed = before.names.index("red/red 00.png")
    assert (after.inputs[changed] == 0).all()
    assert DataModule(lambda: before).fingerprint != DataModule(lambda: after).fingerprint


BUILD = """
import sys
from pathlib import Path
from project.data.images import cache
from project.data.images.source import images
cache.FOLDER = Path(sys.argv[2])
print(images(sys.argv[1], image_size=96).inputs[:].sum())
"""


def build(folder: Path, where: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(folder), str(where)],
        cwd=project.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_may_read_a_folder_at_once_and_one_may_be_killed(
    tmp_path: Path, own_cache: Path
) -> None:
    folder = write_classes(tmp_path / "many", 900, suffix=".bmp")
    with build(folder, own_cache) as killed:
        while not list(own_cache.glob("*.partial")):
            assert killed.poll() is None
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    assert not list(own_cache.glob("*.json"))
    with build(folder, own_cache) as first, build(folder, own_cache) as second:
        sums = {first.communicate(timeout=120)[0], second.communicate(timeout=120)[0]}
    assert first.returncode == second.returncode == 0
    assert len(sums) == 1
    assert len(list(own_cache.glob("*.npy"))) == 1
    assert not list(own_cache.glob("*.partial"))


def test_a_large_folder_stays_in_its_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = images(str(folder), image_size=8)
    in_memory = DataModule(lambda: source, batch_size=4)
    monkeypatch.setattr(samples, "IN_MEMORY", 100)
    in_file = DataModule(lambda: source, batch_size=4)
    assert isinstance(in_file.train.inputs, Rows)
    assert isinstance(in_file.train_subset.inputs, Rows)
    assert in_file.spec == in_memory.spec
    assert in_file.fingerprint == in_memory.fingerprint
    for ours, theirs in zip(in_file.train_dataloader(), in_memory.train_dataloader(), strict=True):
        np.testing.assert_array_equal(ours[0].numpy(), theirs[0].numpy())
    np.testing.assert_array_equal(in_file.open_test().inputs[:], in_memory.open_test().inputs[:])


@pytest.mark.parametrize("model", ["cnn", pytest.param("autoencoder", marks=pytest.mark.slow)])
def test_a_run_on_a_large_folder_gives_the_same_results(
    model: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [f"model={model}", "data=images", f"data.root='{folder}'", "data.image_size=16"]
    config = configure(*overrides, "trainer.max_epochs=1", "augment=none")
    in_memory = train(config)
    monkeypatch.setattr(samples, "IN_MEMORY", 0)
    read_samples.cache_clear()
    assert isinstance(build_data(config).train.inputs, Rows)
    in_file = train(config)
    assert in_file.metrics == in_memory.metrics
    if model == "cnn":
        actual, expected = (evaluate(run.run_id, robustness=True) for run in (in_file, in_memory))
        assert actual.curves == expected.curves
    actual, expected = (
        export(run.run_id, "pt2", str(tmp_path / run.run_id)) for run in (in_file, in_memory)
    )
    cards = [(each.folder / "card.md").read_text() for each in (actual, expected)]
    tables = [card.split("## Metrics")[1].split("## ")[0] for card in cards]
    assert tables[0] == tables[1]


FLAT = """
import sys
from pathlib import Path
import numpy as np
from project.data import module, samples
from project.data.images import cache
from project.data.images.source import images
cache.FOLDER, samples.IN_MEMORY = Path(sys.argv[2]), 0

def anonymous():  # bytes that can't be dropped and read again from a file
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

before = anonymous()
data = module.DataModule(lambda: images(sys.argv[1], image_size=512), batch_size=16)
for batch in data.train_dataloader():
    pass
print(anonymous() - before, data.train.inputs.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc of Linux")
@pytest.mark.slow
def test_memory_stays_flat(tmp_path: Path, own_cache: Path) -> None:
    folder = write_classes(tmp_path / "many", 300)
    done = subprocess.run(
        [sys.executable, "-c", FLAT, str(folder), str(own_cache)],
        cwd=project.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    grown, whole = map(int, done.stdout.split())
    assert whole > 400e6
    assert grown < whole / 3


def test_rows_are_pickled_as_the_name_of_their_file(tmp_path: Path) -> None:
    array = np.arange(600_000).reshape(1000, 600)
    np.save(tmp_path / "a.npy", array)
    rows = Rows(tmp_path / "a.npy", np.arange(0, 1000, 2))
    content = pickle.dumps(rows)
    assert len(content) < 20_000
    np.testing.assert_array_equal(pickle.loads(content)[3:5], array[[6, 8]])
    np.testing.assert_array_equal(rows.select(np.array([1, 4]))[:], array[[2, 8]])
    assert (rows.shape, rows.nbytes, len(rows)) == ((500, 600), 500 * 600 * 8, 500)


@pytest.mark.parametrize("name", ["*.npy", "*.json"])
@pytest.mark.parametrize("spoil", [Path.unlink, lambda file: os.truncate(file, 200)])
def test_a_damaged_cache_is_rebuilt(
    name: str, spoil: Callable[[Path], None], folder: Path, own_cache: Path
) -> None:
    made = images(str(folder), image_size=8)
    pixels, hashes = made.inputs[:], made.hashes
    (file,) = own_cache.glob(name)
    spoil(file)
    actual = images(str(folder), image_size=8)
    np.testing.assert_array_equal(actual.inputs[:], pixels)
    np.testing.assert_array_equal(actual.hashes, hashes)  # type: ignore[arg-type]
