"""Images decoded and resized once into a file that is then read as an array."""

import hashlib
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from filelock import FileLock
from numpy.lib.format import open_memmap
from tqdm import tqdm

from project import ROOT
from project.core.arrays import Array
from project.core.errors import UserError
from project.data.images import decode
from project.data.images.decode import Unreadable
from project.data.source import Rows
from project.data.splits import hash_input

FOLDER = ROOT / "data" / "cache"
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Decoded:
    """The images of some files.

    Attributes:
        rows: (M, H, W, C) uint8, those that could be read.
        readable: (M,) their positions among the files.
        hashes: (M,) of their pixels.
        sizes: (M, 2) height and width in the file.
        unreadable: why not, by position.
    """

    rows: Rows
    readable: Array
    hashes: Array
    sizes: Array
    unreadable: dict[int, str]


def decode_all(files: Sequence[Path], shape: tuple[int, int, int]) -> Decoded:
    """Decodes files, or finds what an earlier run has decoded.

    What is kept is named by the content of the files: a changed, added or renamed file makes a new
    one, and a folder that was only moved or copied doesn't. Two processes don't do it at once, and
    one that is killed leaves nothing that would be taken for whole.

    Args:
        files: in the order of the result.
        shape: (H, W, C) of each in the result.

    Raises:
        UserError: the cache can't be written, as when the disk is full.
    """
    settings = f"{shape} {decode.VERSION}"
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        key = _content_key(files, settings)
        pixels, about = FOLDER / f"{key}.npy", FOLDER / f"{key}.json"
        with FileLock(FOLDER / f"{key}.lock"):
            found = _load(pixels, about, (len(files), *shape))
            if found is None:
                found = _build(files, shape, pixels, about)
    except OSError as error:
        raise UserError(
            f"data.root: {error.filename or FOLDER}: {error.strerror or error}: expected to write "
            f"to {FOLDER}"
        ) from None
    unreadable = {int(position): reason for position, reason in found["unreadable"].items()}
    readable = np.array([i for i in range(len(files)) if i not in unreadable], dtype=np.int64)
    return Decoded(
        rows=Rows(pixels, readable),
        readable=readable,
        hashes=np.array(found["hashes"])[readable],
        sizes=np.array(found["sizes"], dtype=np.int64).reshape(-1, 2)[readable],
        unreadable=unreadable,
    )


def _content_key(files: Sequence[Path], settings: str) -> str:
    """Names the content of the files; read again only if a file has changed on the disk."""
    digest = hashlib.sha256(settings.encode())
    for file in files:
        digest.update(os.fsencode(file))
        with suppress(OSError):  # what is gone or not to be read is listed when it is decoded
            status = file.stat()
            times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
            digest.update(f" {status.st_size} {times} {os.access(file, os.R_OK)}".encode())
    known = FOLDER / f"{digest.hexdigest()[:32]}.key"
    if known.exists():
        return known.read_text()
    content = hashlib.sha256(settings.encode())
    for each in show_progress(map_in_threads(_hash_file, files), len(files), "looking for changes"):
        content.update(each)
    key = content.hexdigest()[:32]
    _write(known, key)
    return key


def _hash_file(file: Path) -> bytes:
    try:
        content = decode.read_file(file)
    except Unreadable as error:
        content = str(error).encode()
    return hashlib.blake2b(content, digest_size=16).digest()


def _load(pixels: Path, about: Path, shape: tuple[int, ...]) -> dict[str, Any] | None:
    """What an earlier run has written about its images; None if it, or they, aren't whole."""
    try:
        found: dict[str, Any] = json.loads(about.read_text())
        array = np.load(pixels, mmap_mode="r")
    except (OSError, ValueError):
        return None
    return found if array.shape == shape and len(found["hashes"]) == len(array) else None


def _build(
    files: Sequence[Path], shape: tuple[int, int, int], pixels: Path, about: Path
) -> dict[str, Any]:
    partial = pixels.with_suffix(".partial")  # of this content only, and only one process is here
    array: Any = open_memmap(partial, "w+", np.uint8, (len(files), *shape))

    def put(position: int) -> tuple[str, tuple[int, int], str]:
        try:
            image, original = decode.decode_file(files[position], shape)
        except Unreadable as error:
            return "", (0, 0), str(error)
        array[position] = image
        return hash_input(image), original, ""

    found = list(
        show_progress(map_in_threads(put, range(len(files))), len(files), "reading images")
    )
    array.flush()
    os.replace(partial, pixels)
    hashes, sizes, reasons = zip(*found, strict=True)
    unreadable = {position: reason for position, reason in enumerate(reasons) if reason}
    made = {"unreadable": unreadable, "hashes": hashes, "sizes": sizes}
    # Last, as it is what says that the other is whole.
    _write(about, json.dumps(made))
    return made


def map_in_threads(
    function: Callable[[Item], Made], items: Iterable[Item], ahead: int = 1024
) -> Iterator[Made]:
    """Maps in threads, as Pillow lets others work while it decodes; keeps the order.

    Args:
        function: that is called in threads.
        items: that it is called with.
        ahead: results that may wait until they are asked for.
    """
    threads = ThreadPoolExecutor(_num_cores())
    waiting: deque[Future[Made]] = deque()
    try:
        for item in items:
            waiting.append(threads.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)


def _num_cores() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def show_progress(made: Iterator[Made], total: int, what: str) -> Iterator[Made]:
    """A bar on a terminal while there are many."""
    hidden = not sys.stderr.isatty() or total < 256
    bar: Any = tqdm(made, what, total, leave=False, unit="file", disable=hidden)
    yield from bar


def _write(file: Path, text: str) -> None:
    """Writes a file whole or not at all, whoever else does so."""
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(text)
    os.replace(temporary, file)
