"""Images decoded and resized once, into a file that is then read as an array."""

import hashlib
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock
from joblib import cpu_count
from numpy.lib.format import open_memmap
from tqdm import tqdm

from project import ROOT
from project.core.arrays import Array, Indices
from project.core.errors import UserError
from project.data.images import decode
from project.data.images.decode import Unreadable
from project.data.source import Rows
from project.data.splits import hash_input

FOLDER = ROOT / "data" / "cache"
Result = TypeVar("Result")
Entry = dict[str, Any]  # hashes, sizes and unreadable files of a cached array
Decoded = tuple[Rows, Array, Indices, dict[int, str]]


def decode_all(files: Sequence[Path], shape: tuple[int, ...]) -> Decoded:
    """Decodes files to images of ``shape`` (H, W, C), or opens what an earlier run has decoded.

    The cache is keyed by the contents of the files: a moved or copied folder makes no new entry.
    Only one process decodes at a time; a killed one leaves nothing that looks complete.

    Returns M readable images, whose ``indices`` are the positions of their files; (M,) hashes of
    their pixels; (M, 2) height and width in the file; reason by position of an unreadable file.
    """
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        pixels = FOLDER / f"{_content_key(files, f'{shape} {decode.VERSION}')}.npy"
        with FileLock(pixels.with_suffix(".lock")):
            entry = _load(pixels, (len(files), *shape)) or _build(files, shape, pixels)
    except OSError as error:  # for example, the disk is full
        place, reason = error.filename or FOLDER, error.strerror or error
        raise UserError(f"data.root: {place}: {reason}: expected to write to {FOLDER}") from None
    unreadable = {int(position): reason for position, reason in entry["unreadable"].items()}
    readable = np.setdiff1d(np.arange(len(files)), list(unreadable))
    hashes, sizes = np.array(entry["hashes"]), np.array(entry["sizes"], dtype=np.int64)
    return Rows(pixels, readable), hashes[readable], sizes[readable], unreadable


def _content_key(files: Sequence[Path], settings: str) -> str:
    """A hash of the files' contents; they are read only if a file's status has changed."""
    digest = hashlib.sha256(settings.encode())
    for file in files:
        digest.update(os.fsencode(file))
        with suppress(OSError):  # a missing file is reported when it is decoded
            status = file.stat()
            times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
            digest.update(f" {status.st_size} {times} {os.access(file, os.R_OK)}".encode())
    known = FOLDER / f"{digest.hexdigest()[:32]}.key"
    if known.exists():
        return known.read_text()
    contents = b"".join(map_in_threads(_hash_file, files, "hashing files"))
    key = hashlib.sha256(settings.encode() + contents).hexdigest()[:32]
    _write(known, key)
    return key


def _hash_file(file: Path) -> bytes:
    try:
        content = decode.read_file(file)
    except Unreadable as error:
        content = str(error).encode()
    return hashlib.blake2b(content, digest_size=16).digest()


def _load(pixels: Path, shape: tuple[int, ...]) -> Entry | None:
    """The index of an entry; None if there is no complete entry."""
    try:
        entry: Entry = json.loads(pixels.with_suffix(".json").read_text())
        array = np.load(pixels, mmap_mode="r")
    except (OSError, ValueError):
        return None
    return entry if array.shape == shape and len(entry["hashes"]) == len(array) else None


def _build(files: Sequence[Path], shape: tuple[int, ...], pixels: Path) -> Entry:
    partial = pixels.with_suffix(".partial")  # no other process writes it: the key is locked
    array: Any = open_memmap(partial, "w+", np.uint8, (len(files), *shape))

    def put(position: int) -> tuple[str, tuple[int, int], str]:
        try:
            array[position], size = decode.decode_file(files[position], shape)
        except Unreadable as error:
            return "", (0, 0), str(error)
        return hash_input(array[position]), size, ""

    decoded = map_in_threads(put, range(len(files)), "decoding images")
    hashes, sizes, reasons = zip(*decoded, strict=True)
    array.flush()
    os.replace(partial, pixels)
    unreadable = {position: reason for position, reason in enumerate(reasons) if reason}
    entry = {"unreadable": unreadable, "hashes": hashes, "sizes": sizes}
    # Last, as its presence marks the entry as complete.
    _write(pixels.with_suffix(".json"), json.dumps(entry))
    return entry


def map_in_threads(
    function: Callable[[Any], Result], items: Sequence[Any], title: str, max_ahead: int = 1024
) -> Iterator[Result]:
    """Maps a function in threads and yields the results in order; many show a progress bar.

    Pillow and OpenCV release the interpreter lock. At most ``max_ahead`` results wait: joblib would
    let decoded images pile up before a slow network.
    """
    threads = ThreadPoolExecutor(cpu_count())
    futures = (threads.submit(function, item) for item in items)
    hidden = not sys.stderr.isatty() or len(items) < 256
    try:
        waiting = deque(islice(futures, max_ahead))
        for _ in tqdm(items, title, leave=False, unit="file", disable=hidden):
            yield waiting.popleft().result()
            waiting.extend(islice(futures, 1))
    finally:
        threads.shutdown(cancel_futures=True)


def _write(file: Path, text: str) -> None:
    """Writes a file atomically."""
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text)
    os.replace(temporary, file)
