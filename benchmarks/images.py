"""A folder of images against hand-written loops: the first pass, later epochs, and predicting.

Each function is one measurement in a process of its own; see `benchmarks.run`.
"""

import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

NUM_FILES = 5000
HEIGHT, WIDTH, SIZE = 375, 500, 64
KINDS = ("first", "second")
NUM_EPOCHS = 20  # of one second each, so that a busy moment affects only a few of them


def write_folder(folder: Path) -> None:
    """Writes 5,000 JPEGs of 500 x 375 in two classes, smooth with grain, like photographs."""
    random = np.random.default_rng(0)
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
    for index in range(NUM_FILES):
        coarse = random.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        grain = random.normal(0, 4, (HEIGHT, WIDTH, 1))
        image = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / KINDS[index % 2] / f"{index}.jpg"), image)


def read_by_hand(file: str) -> int:
    """Reads and resizes one file with OpenCV."""
    image = cv2.cvtColor(cv2.imread(file), cv2.COLOR_BGR2RGB)
    small = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return int(small[0, 0, 0])


def first_pass_by_hand(folder: Path) -> float:
    """Files per second of the bare loop, with one process per core."""
    cv2.setNumThreads(0)
    files = [str(file) for file in sorted(folder.rglob("*.jpg"))]
    with multiprocessing.Pool(len(os.sched_getaffinity(0))) as pool:
        pool.map(read_by_hand, files[:64])  # wait until the processes have started
        began = perf_counter()
        pool.map(read_by_hand, files, chunksize=50)
        return len(files) / (perf_counter() - began)


def first_pass(folder: Path) -> float:
    """Files per second of the project's first pass: listing, decoding, hashing and writing."""
    from project.data.images.source import images

    with own_cache():
        began = perf_counter()
        images(str(folder), image_size=SIZE)
        return NUM_FILES / (perf_counter() - began)


@contextmanager
def own_cache() -> Iterator[None]:
    """A cache that is empty at first."""
    from project.data.images import cache

    with tempfile.TemporaryDirectory() as temporary:
        cache.FOLDER = Path(temporary)
        yield


def later_epochs(folder: Path) -> dict[str, float]:
    """Training samples per second of `cnn`, from memory and from the file: medians over epochs."""
    from project.config.build import build_data, read_samples
    from project.config.check import check
    from project.config.compose import compose
    from project.data import samples
    from project.training.devices import make_model

    overrides = ["data=images", f"data.root={folder}", "augment=none", "data.limit_train=1024"]
    config = check(compose("train", overrides))
    with own_cache():
        sources = {"in memory": build_data(config)}
        samples.IN_MEMORY = 0
        read_samples.cache_clear()
        sources["in a file"] = build_data(config)
        model = make_model(config, sources["in memory"]).train()
        optimizer = model.make_optimizer()
        model.on_train_epoch_start()
        speeds: dict[str, list[float]] = {name: [] for name in sources}
        for epoch in range(NUM_EPOCHS + 1):
            for name, data in sources.items():
                loader: Any = data.train_dataloader()
                loader.sampler.set_epoch(epoch)
                began = perf_counter()
                for batch in loader:
                    optimizer.zero_grad()
                    model.training_step(batch, 0).backward()
                    optimizer.step()
                speeds[name].append(len(data.train) / (perf_counter() - began))
    return {name: statistics.median(values[1:]) for name, values in speeds.items()}


def predictions(folder: Path) -> dict[str, float]:
    """Images per second of the bare network, the saved model on pixels, and a whole folder.

    The network is a ResNet of the project, and the files are JPEGs of its size.
    """
    import torch

    from project.config.build import build_data
    from project.config.check import check
    from project.config.compose import compose
    from project.models.contract import Predictor
    from project.reports.run import load_best
    from project.serving.predict import PREDICT_BATCH, load_model, predict
    from project.tracking.find import find_run
    from project.train import train

    small = folder / "small"
    for kind in KINDS:
        (small / kind).mkdir(parents=True)
    files = sorted(folder.glob("*/*.jpg"), key=lambda file: int(file.stem))
    for file in files[: 8 * PREDICT_BATCH]:
        image = cv2.resize(cv2.imread(str(file)), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(small / KINDS[int(file.stem) % 2] / file.name), image)
    with own_cache():
        overrides = ["data=images", f"data.root={small}", "model=resnet", "trainer.max_epochs=1"]
        config = check(compose("train", [*overrides, "data.limit_train=256"]))
        run = find_run(train(config).run_id)
        data = build_data(config)
        network = Predictor(load_best(run, config, data.spec)).eval()
        pixels = data.read().inputs[:]
    saved = load_model(run.id)

    @torch.inference_mode()
    def bare() -> None:
        for start in range(0, len(pixels), PREDICT_BATCH):
            network(torch.from_numpy(pixels[start : start + PREDICT_BATCH])).numpy()

    def whole() -> None:
        predict(run.id, str(small))

    rates = {}
    calls: dict[str, Callable[[], Any]] = {
        "bare": bare, "pixels": lambda: saved.predict(pixels), "folder": whole,
    }  # fmt: skip
    for name, call in calls.items():
        if name != "folder":
            call()
        began = perf_counter()
        call()
        rates[name] = len(pixels) / (perf_counter() - began)
    return rates
