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
from project.core.arrays import Indices
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
    """Facts about a data set that matter before training."""

    name: str
    task: str
    shape: tuple[int, ...]  # of a raw sample
    num_samples: dict[str, int]  # by split
    class_counts: dict[str, list[int]]  # in train, val and test; empty for regression
    target: dict[str, float]  # mean and std on train; empty for classification
    sizes: dict[str, list[int]]  # min, median, max height and width of image files; else empty
    channels: list[dict[str, float]]  # mean and std over train, 0 to 255; empty for tables
    columns: list[dict[str, Any]]  # name, training values and share of missing values
    duplicates: dict[str, int]  # samples in the first split of a pair that are in the second too
    # Images in the first split of a pair that look like one in the second but differ in pixels;
    # None if images are too small or too many to compare.
    near_duplicates: dict[str, int] | None
    near_pairs: list[list[str]]  # file names of some near-duplicates
    skipped: dict[str, str]  # reasons, by the name of a file or row
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
    """Counts, measures and hashes a data set; compares at most ``max_compared`` images."""
    source, spec, classes = data.about, data.spec, data.spec.classes
    split = {name: getattr(data.split, name) for name in SPLITS}
    targets = [source.targets[part] for part in split.values()]
    counts = [np.bincount(each, minlength=len(classes)) for each in targets] if classes else []
    near, pairs = _find_near(data, max_compared)
    sizes = {}
    if source.sizes is not None:
        quantiles = np.percentile(source.sizes, [0, 50, 100], axis=0).round().astype(int)
        sizes = dict(zip(("height", "width"), quantiles.T.tolist(), strict=True))
    columns = []
    for position, column in enumerate(spec.columns):
        values, missing = describe_values(column, data.train.inputs[:, position])
        columns.append({"name": column.name, "values": values, "missing": missing})
    moments = zip(spec.mean, spec.std, strict=True) if spec.is_image else ()
    return DataReport(
        name=name,
        task=spec.task,
        shape=spec.shape,
        num_samples={name: len(part) for name, part in split.items()},
        class_counts=dict(zip(classes, np.transpose(counts).tolist(), strict=True)),
        target={} if classes else {"mean": spec.target_mean, "std": spec.target_std},
        sizes=sizes,
        channels=[{"mean": mean, "std": std} for mean, std in moments],
        columns=columns,
        duplicates=data.duplicates,
        near_duplicates=near,
        near_pairs=pairs[:MAX_LISTED],
        skipped=dict(source.skipped[:MAX_LISTED]),
        num_skipped=len(source.skipped),
        fingerprint=data.fingerprint,
    )


def _find_near(data: DataModule, limit: int) -> tuple[dict[str, int] | None, list[list[str]]]:
    spec, source = data.spec, data.about
    if not spec.is_image or min(spec.shape[:2]) < MIN_SIZE or len(source.targets) > limit:
        return None, []
    hashes, pixels = data.image_hashes, data.hashes
    if hashes is None:  # too many to hash them in every run
        hashes = hash_images(data.read().inputs)
    counts, names = {}, list[list[str]]()
    for pair in data.duplicates:
        first, second = (getattr(data.split, name) for name in pair.split("_"))
        places = find_near(hashes[first], hashes[second])
        near = np.column_stack([first[places[:, 0]], second[places[:, 1]]])
        near = near[pixels[near[:, 0]] != pixels[near[:, 1]]]  # equal ones are duplicates
        counts[pair] = len(np.unique(near[:, 0]))
        if source.names:
            names += [[source.names[i], source.names[j]] for i, j in near.tolist()]
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
    places = {
        name: np.flatnonzero(train.targets == index)[:MAX_IMAGES]
        for index, name in enumerate(spec.classes[:MAX_CLASSES])
    } or {"train": np.arange(len(train))[:MAX_IMAGES]}
    images = {name: train.inputs[each] for name, each in places.items()}
    is_cut = len(spec.classes) > len(places)
    title = f"{len(places)} of {len(spec.classes)} classes" if is_cut else ""
    yield "contact_sheet", drawing.contact_sheet(images, title)
    if data.augment is not None:
        firsts = np.array([each[0] for each in places.values() if len(each)])
        yield "augmentation", draw_augmented(data, firsts[:MAX_IMAGES])


def draw_augmented(data: DataModule, places: Indices) -> Figure:
    """Some training samples above their augmented versions in three epochs."""
    assert data.augment is not None
    classes, targets = data.spec.classes, data.train.targets[places]
    before, indices = data.train.inputs[places], data.train.indices[places]
    after = [data.augment(before, epoch, indices) for epoch in range(3)]
    labels = [classes[int(each)] if classes else f"{each:g}" for each in targets]
    return augmentation_sheet(before, after, labels)


def show(result: DataReport) -> None:
    """Prints the tables of a report and where its figures are."""
    total = sum(result.num_samples.values())
    splits = ", ".join(f"{name} {count}" for name, count in result.num_samples.items())
    print(f"{result.name}: {result.task}, {total} samples of {result.shape}: {splits}")
    if result.class_counts:
        rows = [[name, *map(str, counts)] for name, counts in result.class_counts.items()]
        _print_table(["class", *SPLITS], rows)
    else:
        print(f"target: mean {result.target['mean']:g}, std {result.target['std']:g} (train)")
    if result.columns:
        rows = [
            [each["name"], each["values"], f"{each['missing']:.1%}" if each["missing"] else ""]
            for each in result.columns
        ]
        _print_table(["column", "values in train", "missing"], rows)
    for side, (least, median, greatest) in result.sizes.items():
        print(f"{side} of the files: {least} to {greatest} pixels, median {median}")
    for index, channel in enumerate(result.channels):
        print(f"channel {index}: mean {channel['mean']:.1f}, std {channel['std']:.1f} of 255")
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
    if result.num_skipped:
        print(f"{result.num_skipped} skipped:")
        for name, reason in list(result.skipped.items())[:10]:
            print(f"  {name}: {reason}")
    print(f"figures and data.json: {store_folder() / 'data' / result.name}")


def _print_table(names: list[str], rows: list[list[str]]) -> None:
    table = Table(*names)
    for row in rows[:MAX_ROWS]:
        table.add_row(*map(escape, row))
    if len(rows) > MAX_ROWS:
        table.add_row(f"and {len(rows) - MAX_ROWS} more")
    stdout().print(table)
