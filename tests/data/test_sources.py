"""Sources: real data, damaged files, and torchvision's download against a server on loopback."""

import gzip
import hashlib
import pickle
import struct
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from torchvision.datasets import CIFAR10, MNIST

from project.core.arrays import Array
from project.core.errors import UserError
from project.data import torchvision_sets
from project.data.diabetes import diabetes
from project.data.digits import digits
from project.data.line import line
from project.data.torchvision_sets import DEBIAN_FASHION_MNIST, cifar10, fashion_mnist, mnist


def idx_bytes(array: Array) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, suffix: str = "", name: str = "MNIST") -> dict[str, Array]:
    random = np.random.default_rng(0)
    raw = folder / name / "raw"
    raw.mkdir(parents=True)
    parts = {}
    for part, size in (("train", 60), ("t10k", 20)):
        parts[f"{part}-images-idx3-ubyte"] = random.integers(0, 256, (size, 28, 28))
        parts[f"{part}-labels-idx1-ubyte"] = np.arange(size) % 10
    for file, array in parts.items():
        content = idx_bytes(array)
        if suffix:
            content = gzip.compress(content)
        (raw / f"{file}{suffix}").write_bytes(content)
    return parts


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A file server on loopback: its address and its folder."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}/", folder
        http.shutdown()


def test_digits_are_scikit_learn_s_and_can_be_enlarged() -> None:
    source, table = digits(), load_digits()
    np.testing.assert_allclose(source.inputs[..., 0], table.images * 255 / 16, atol=0.5)
    np.testing.assert_array_equal(source.targets, table.target)
    large = digits(image_size=32)
    assert large.inputs.shape == (1797, 32, 32, 1)
    assert abs(float(large.inputs.mean()) - float(source.inputs.mean())) < 2


def test_diabetes_is_scikit_learn_s_in_raw_units() -> None:
    table = load_diabetes(scaled=False)
    np.testing.assert_allclose(diabetes().inputs, table.data, rtol=1e-6)
    np.testing.assert_allclose(diabetes().targets, table.target)


def test_line_has_the_slope_and_height_it_was_given() -> None:
    source = line(num_samples=10_000, weight=3.0, bias=0.5, noise=0.2)
    slope, height = np.polyfit(source.inputs[:, 0], source.targets, 1)
    assert slope == pytest.approx(3.0, abs=0.02)
    assert height == pytest.approx(0.5, abs=0.02)
    rest = source.targets - slope * source.inputs[:, 0] - height
    assert rest.std() == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_mnist_is_read_from_a_folder_plain_or_gzipped(tmp_path: Path, suffix: str) -> None:
    parts = write_mnist(tmp_path, suffix)
    source = mnist(str(tmp_path))
    assert source.num_test == 20
    np.testing.assert_array_equal(source.inputs[:60, ..., 0], parts["train-images-idx3-ubyte"])
    np.testing.assert_array_equal(source.targets[60:], parts["t10k-labels-idx1-ubyte"])


IMAGES = "train-images-idx3-ubyte"
DAMAGE = {
    "missing": (IMAGES, lambda content: None),
    "empty": (IMAGES, lambda content: b""),
    "cut in its header": (IMAGES, lambda content: content[:9]),
    "no images": (IMAGES, lambda content: idx_bytes(np.zeros((0, 28, 28)))),
    "another size": (IMAGES, lambda content: idx_bytes(np.zeros((60, 14, 14)))),
    "truncated": (IMAGES, lambda content: content[:-100]),
    "too long": (IMAGES, lambda content: content + b"x"),
    "not idx": (IMAGES, lambda content: b"<html>no such file</html>"),
    "labels as images": (IMAGES, lambda content: idx_bytes(np.zeros(60))),
    "fewer images": (IMAGES, lambda content: idx_bytes(np.zeros((59, 28, 28)))),
    "label out of range": ("train-labels-idx1-ubyte", lambda content: idx_bytes(np.full(60, 10))),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_one_line_that_names_it(tmp_path: Path, damage: str) -> None:
    write_mnist(tmp_path)
    name, change = DAMAGE[damage]
    path = tmp_path / "MNIST" / "raw" / name
    content = change(path.read_bytes())
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"^data\.root: .*MNIST.raw[^\n]*expected|^data\.root"
    ) as caught:
        mnist(str(tmp_path))
    assert str(tmp_path) in str(caught.value)


def test_a_damaged_gzip_file_is_one_line(tmp_path: Path) -> None:
    write_mnist(tmp_path, ".gz")
    path = tmp_path / "MNIST" / "raw" / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="can't be read"):
        mnist(str(tmp_path))


def serve_mnist(monkeypatch: pytest.MonkeyPatch, address: str, folder: Path) -> None:
    write_mnist(folder, ".gz")
    raw = folder / "MNIST" / "raw"
    resources = [(p.name, hashlib.md5(p.read_bytes()).hexdigest()) for p in sorted(raw.iterdir())]
    monkeypatch.setattr(MNIST, "mirrors", [f"{address}MNIST/raw/"])
    monkeypatch.setattr(MNIST, "resources", resources)


def test_mnist_is_downloaded_checked_and_not_downloaded_again(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = server
    serve_mnist(monkeypatch, address, folder)
    monkeypatch.setattr(torchvision_sets, "DOWNLOADS", tmp_path / "downloads")
    first = mnist()
    for path in (folder / "MNIST" / "raw").iterdir():
        path.unlink()
    again = mnist()
    np.testing.assert_array_equal(first.inputs, again.inputs)
    assert len(first.inputs) == 80


def test_a_download_with_a_wrong_checksum_is_refused(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = server
    serve_mnist(monkeypatch, address, folder)
    monkeypatch.setattr(torchvision_sets, "DOWNLOADS", tmp_path / "downloads")
    (folder / "MNIST" / "raw" / f"{IMAGES}.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(UserError, match=r"^data\.root: .*can't be downloaded"):
        mnist()


def test_no_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(torchvision_sets, "DOWNLOADS", tmp_path)
    with pytest.raises(
        UserError, match=r"MNIST is not there and can't be downloaded[^\n]*expected"
    ):
        mnist()


def test_cifar10_is_downloaded_and_read(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = server
    random = np.random.default_rng(0)
    batches = folder / CIFAR10.base_folder
    batches.mkdir()
    checksums = {}
    for name in ("data_batch_1", "test_batch"):
        images = random.integers(0, 256, (30, 3072)).astype(np.uint8)
        content = pickle.dumps({"data": images, "labels": (np.arange(30) % 10).tolist()})
        (batches / name).write_bytes(content)
        checksums[name] = hashlib.md5(content).hexdigest()
    content = pickle.dumps({"label_names": list("abcdefghij")})
    (batches / "batches.meta").write_bytes(content)
    archive = folder / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(batches, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "url", address + CIFAR10.filename)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", checksums["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", checksums["test_batch"]]])
    meta = {
        "filename": "batches.meta",
        "key": "label_names",
        "md5": hashlib.md5(content).hexdigest(),
    }
    monkeypatch.setattr(CIFAR10, "meta", meta)
    monkeypatch.setattr(torchvision_sets, "DOWNLOADS", tmp_path / "downloads")
    source = cifar10()
    assert source.inputs.shape == (60, 32, 32, 3)
    assert source.num_test == 30
    assert source.classes == tuple("abcdefghij")
    read_again = cifar10(str(tmp_path / "downloads"))
    np.testing.assert_array_equal(source.inputs, read_again.inputs)
    (tmp_path / "downloads" / CIFAR10.base_folder / "test_batch").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"^data\.root: "):
        cifar10(str(tmp_path / "downloads"))


@pytest.mark.skipif(
    not DEBIAN_FASHION_MNIST.is_dir(), reason="Debian's package dataset-fashion-mnist is missing"
)
def test_fashion_mnist_of_debian_is_found_by_itself() -> None:
    source = fashion_mnist()
    assert source.inputs.shape == (70_000, 28, 28, 1)
    assert source.num_test == 10_000
    assert np.bincount(source.targets).tolist() == [7000] * 10
    assert source.inputs[:60_000].mean() == pytest.approx(72.94, abs=0.01)  # 0.2860 * 255
