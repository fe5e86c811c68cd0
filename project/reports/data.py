"""Describes a data set before training: counts, statistics, duplicates, skipped files, figures.

The test split stays sealed: only hashes and labels of its samples are used.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.markup import escape
from rich.table import Table

from project.config.build import build_data
from project.config.check import Config
from project.core.console import stdout
from project.data.images.similar import MIN_SIZE, find_near, hash_images
from project.data.module import DataModule
from project.data.ratios import SPLITS
from project.data.splits import describe_duplicates
from project.data.tables.columns import describe_values
from project.figures import data as drawing
from project.figures.training import augmentation_sheet
from project.tracking.store import store_folder

MAX_LISTED = 100  # skipped samples and near-duplicates listed in the report
MAX_COMPARED = 70_000  # number of images up to which near-duplicates are searched for
MAX_CLASSES = 12  # classes on the contact sheet
MAX_IMAGES = 8  # images per class on the contact sheet
MAX_ROWS = 30  # rows of a printed table


@dataclass(frozen=True)
class DataReport:
    """Facts about a data set that matter before training.

    Attributes:
        name: Name of the data set.
        task: Kind of targets.
        shape: Shape of a raw sample.
        num_samples: Number of samples, by split.
        class_counts: Number of samples in train, val and test, by class; empty for regression.
        target: Mean and standard deviation of the training targets; empty for classification.
        sizes: Minimum, median and maximum height and width of the image files; else empty.
        channels: Mean and standard deviation of each channel over train, 0 to 255; else empty.
        columns: Name, training values and share of missing values of each table column.
        duplicates: Number of samples in the first split of a pair that are also in the second.
        near_duplicates: Number of images in the first split of a pair that look like one in the
            second but differ in pixels; None if images are too small or too many to compare.
        near_pairs: File names of some near-duplicates.
        skipped: Reasons why files or rows were skipped, by name.
        num_skipped: Number of skipped files or rows.
        fingerprint: SHA-256 of the splits.
    """

    name: str
    task: str
    shape: tuple[int, ...]
    num_samples: dict[str, int]
    class_counts: dict[str, list[int]]
    target: dict[str, float]
    sizes: dict[str, list[int]]
    channels: list[dict[str, float]]
    columns: list[dict[str, Any]]
    duplicates: dict[str, int]
    near_duplicates: dict[str, int] | None
    near_pairs: list[list[str]]
    skipped: dict[str, str]
    num_skipped: int
    fingerprint: str

    def to_json(self) -> str:
        """All fields as indented JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)


def describe_data(config: Config) -> DataReport:
    """Describes a data set before training; writes figures and data.json to mlruns/data/<name>/.

    Args:
        config: Config of a run.
    """
    data = build_data(config)
    report = summarise_data(data, config.data_name)
    folder = store_folder() / "data" / report.name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):  # figures of the same data with other settings
        old.unlink()
    (folder / "data.json").write_text(report.to_json())
    for title, figure in data_figures(data, report):
        figure.savefig(folder / f"{title}.png", dpi=120)
    return report


def summarise_data(data: DataModule, name: str, max_compared: int = MAX_COMPARED) -> DataReport:
    """Counts, measures and hashes a data set.

    Args:
        data: Data of a config.
        name: Name of the data set.
        max_compared: Number of images up to which near-duplicates are searched for.
    """
    source, spec = data.about, data.spec
    split = {name: getattr(data.split, name) for name in SPLITS}
    counts = [
        np.bincount(source.targets[part], minlength=len(spec.classes))
        for part in split.values()
        if spec.classes
    ]
    near, pairs = _find_near(data, max_compared)
    sizes = {}
    if source.sizes is not None:
        quantiles = np.percentile(source.sizes, [0, 50, 100], axis=0).round().astype(int)
        sizes = dict(zip(("height", "width"), quantiles.T.tolist(), strict=True))
    described = [
        (column.name, *describe_values(column, data.train.inputs[:, position]))
        for position, column in enumerate(spec.columns)
    ]
    moments = zip(spec.mean, spec.std, strict=True) if spec.is_image else ()
    return DataReport(
        name=name,
        task=spec.task,
        shape=spec.shape,
        num_samples={name: len(part) for name, part in split.items()},
        class_counts=dict(zip(spec.classes, np.transpose(counts).tolist(), strict=True)),
        target={} if spec.classes else {"mean": spec.target_mean, "std": spec.target_std},
        sizes=sizes,
        channels=[{"mean": mean, "std": std} for mean, std in moments],
        columns=[{"name": n, "values": values, "missing": m} for n, values, m in described],
        duplicates=data.duplicates,
        near_duplicates=near,
        near_pairs=pairs[:MAX_LISTED],
        skipped=dict(source.skipped[:MAX_LISTED]),
        num_skipped=len(source.skipped),
        fingerprint=data.fingerprint,
    )


def _find_near(
    data: DataModule, max_compared: int
) -> tuple[dict[str, int] | None, list[list[str]]]:
    spec, source = data.spec, data.about
    if not spec.is_image or min(spec.shape[:2]) < MIN_SIZE or len(source.targets) > max_compared:
        return None, []
    hashes, pixels = data.image_hashes, data.hashes
    if hashes is None:  # too many to hash them in every run
        hashes = hash_images(data.read().inputs)
    counts, names = {}, list[list[str]]()
    for pair in data.duplicates:
        first, second = (getattr(data.split, name) for name in pair.split("_"))
        near = find_near(hashes[first], hashes[second])
        left, right = first[near[:, 0]], second[near[:, 1]]
        differ = pixels[left] != pixels[right]  # equal ones are counted as duplicates
        counts[pair] = len(np.unique(left[differ]))
        if source.names:
            places = zip(left[differ].tolist(), right[differ].tolist(), strict=True)
            names += [[source.names[i], source.names[j]] for i, j in places]
    return counts, names


def data_figures(data: DataModule, report: DataReport) -> Iterator[tuple[str, Figure]]:
    """Distribution of the targets, contact sheet and augmented samples; of train and val only."""
    train, spec = data.train, data.spec
    if spec.classes:
        yield "class_counts", drawing.class_counts(report.class_counts, SPLITS)
    else:
        yield "targets", drawing.targets(train.targets, data.val.targets)
    if not spec.is_image:
        return
    names = spec.classes[:MAX_CLASSES] or ("train",)
    by_class = {
        name: np.flatnonzero(train.targets == index) if spec.classes else np.arange(len(train))
        for index, name in enumerate(names)
    }
    images = {name: train.inputs[places[:MAX_IMAGES]] for name, places in by_class.items()}
    is_cut = len(spec.classes) > len(names)
    title = f"{len(names)} of {len(spec.classes)} classes" if is_cut else ""
    yield "contact_sheet", drawing.contact_sheet(images, title)
    if data.augment is not None:
        firsts = np.array([places[0] for places in by_class.values() if len(places)])[:MAX_IMAGES]
        before, indices = train.inputs[firsts], train.indices[firsts]
        after = [data.augment(before, epoch, indices) for epoch in range(3)]
        labels = [spec.classes[int(train.targets[i])] if spec.classes else "" for i in firsts]
        yield "augmentation", augmentation_sheet(before, after, labels)


def show(result: DataReport) -> None:
    """Prints the tables of a report and where its figures are."""
    total = sum(result.num_samples.values())
    splits = ", ".join(f"{name} {count}" for name, count in result.num_samples.items())
    print(f"{result.name}: {result.task}, {total} samples of {result.shape}: {splits}")
    if result.class_counts:
        rows = [[escape(name), *map(str, n)] for name, n in result.class_counts.items()]
        _print_table(["class", *SPLITS], rows)
    else:
        print(f"target: mean {result.target['mean']:g}, std {result.target['std']:g} (train)")
    if result.columns:
        rows = [
            [escape(c["name"]), escape(c["values"]), f"{c['missing']:.1%}" if c["missing"] else ""]
            for c in result.columns
        ]
        _print_table(["column", "values in train", "missing"], rows)
    for side, (least, median, greatest) in result.sizes.items():
        print(f"{side} of the files: {least} to {greatest} pixels, median {median}")
    for index, channel in enumerate(result.channels):
        print(f"channel {index}: mean {channel['mean']:.1f}, std {channel['std']:.1f} of 255")
    _print_duplicates(result)
    if result.num_skipped:
        print(f"{result.num_skipped} skipped:")
        for name, reason in list(result.skipped.items())[:10]:
            print(f"  {name}: {reason}")
    print(f"figures and data.json: {store_folder() / 'data' / result.name}")


def _print_table(names: list[str], rows: list[list[str]]) -> None:
    table = Table(*names)
    for row in rows[:MAX_ROWS]:
        table.add_row(*row)
    if len(rows) > MAX_ROWS:
        table.add_row(f"and {len(rows) - MAX_ROWS} more")
    stdout().print(table)


def _print_duplicates(result: DataReport) -> None:
    for line in describe_duplicates(result.duplicates):
        print(line)
    if not any(result.duplicates.values()):
        print("no sample is in two splits")
    for pair, count in (result.near_duplicates or {}).items():
        if count:
            first, second = pair.split("_")
            print(f"{count} more samples of {first} look like one of {second}")
    for left, right in result.near_pairs[:5]:
        print(f"  {left} looks like {right}")
