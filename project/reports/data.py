"""Looks at a data set before anything is trained on it.

Usage: python -m project.reports.data [GROUP=OPTION ...] [KEY=VALUE ...]

  python -m project.reports.data data=images data.root=path/to/folder
  python -m project.reports.data data=table data.file=path.csv data.target=price

Counts by class and split, sizes, statistics of the training split, duplicates and near-duplicates
across splits, what can't be read; and pictures, in mlruns/data/<name>/. The test split stays
sealed: of its samples only hashes and labels are taken.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from project.cli.command import run_command
from project.core.signals import stoppable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from project.data.module import DataModule
    from project.data.source import Source

SPLITS = ("train", "val", "test")
MAX_LISTED = 100  # names of each kind that are kept
MAX_HASHED = 70_000  # images among which near-duplicates are looked for
NUM_SHOWN = 8
NUM_CLASSES = 12  # on the contact sheet
MAX_SHOWN = 30  # rows of a printed table


@dataclass(frozen=True)
class Overview:
    """What there is to know of a data set before training.

    Attributes:
        name: of the data.
        task: what the targets are.
        shape: of a raw sample.
        num_samples: by split.
        class_counts: by class, of each split in the order train, val, test; empty for values.
        target: mean and standard deviation over train, of values; empty for classes.
        sizes: least, median and greatest height and width of the image files; empty for others.
        channels: mean and standard deviation of each channel over train, of 255; empty for tables.
        columns: of each column of a table, what train has in it.
        duplicates: samples of the first split of a pair whose input is also in the second.
        near_duplicates: likewise, images that look the same though their pixels differ; None where
            that can't be told.
        near_pairs: names of some of those.
        left_out: why a file or row isn't among the samples, by name.
        num_left_out: how many those are.
        fingerprint: of the splits.
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
    left_out: dict[str, str]
    num_left_out: int
    fingerprint: str


def look(data: "DataModule", name: str, max_hashed: int = MAX_HASHED) -> Overview:
    """Counts, measures and hashes a data set.

    Args:
        data: of a config.
        name: of the data.
        max_hashed: images up to which near-duplicates are looked for.
    """
    import numpy as np

    source, spec = data.read(), data.spec
    parts = [getattr(data.split, split) for split in SPLITS]
    counts = (
        [np.bincount(source.targets[part], minlength=len(spec.classes)) for part in parts]
        if spec.classes
        else []
    )
    near, pairs = _find_near(source, data, max_hashed)
    sizes = {}
    if source.sizes is not None:
        for position, side in enumerate(("height", "width")):
            values = np.percentile(source.sizes[:, position], [0, 50, 100])
            sizes[side] = [round(value) for value in values.tolist()]
    return Overview(
        name=name,
        task=spec.task,
        shape=spec.shape,
        num_samples={split: len(part) for split, part in zip(SPLITS, parts, strict=True)},
        class_counts={
            each: [int(of_split[index]) for of_split in counts]
            for index, each in enumerate(spec.classes)
        },
        target={} if spec.classes else {"mean": spec.target_mean, "std": spec.target_std},
        sizes=sizes,
        channels=[
            {"mean": mean, "std": std}
            for mean, std in zip(spec.mean, spec.std, strict=True)
            if spec.is_image
        ],
        columns=_describe_columns(data),
        duplicates=data.duplicates,
        near_duplicates=near,
        near_pairs=pairs[:MAX_LISTED],
        left_out=dict(source.skipped[:MAX_LISTED]),
        num_left_out=len(source.skipped),
        fingerprint=data.fingerprint,
    )


def _describe_columns(data: "DataModule") -> list[dict[str, Any]]:
    from project.data.tables.columns import describe_values

    described: list[dict[str, Any]] = []
    for position, column in enumerate(data.columns):
        about, missing = describe_values(column, data.train.inputs[:, position])
        described.append({"name": column.name, "values": about, "missing": missing})
    return described


def _find_near(
    source: "Source", data: "DataModule", max_hashed: int
) -> tuple[dict[str, int] | None, list[list[str]]]:
    import numpy as np

    from project.data.images.similar import MIN_SIZE, find_near, hash_images
    from project.data.splits import hash_samples

    spec = data.spec
    if not spec.is_image or min(spec.shape[:2]) < MIN_SIZE or len(source.targets) > max_hashed:
        return None, []
    hashes, pixels = hash_images(source.inputs), hash_samples(source)
    found, names = {}, list[list[str]]()
    for pair in data.duplicates:
        first, second = (getattr(data.split, name) for name in pair.split("_"))
        near = find_near(hashes[first], hashes[second])
        left, right = first[near[:, 0]], second[near[:, 1]]
        differ = pixels[left] != pixels[right]  # the others are counted as duplicates
        found[pair] = len(np.unique(left[differ]))
        for i, j in zip(left[differ].tolist(), right[differ].tolist(), strict=True):
            if source.names and len(names) < MAX_LISTED:
                names.append([source.names[i], source.names[j]])
    return found, names


def figures(data: "DataModule", overview: Overview) -> Iterator[tuple[str, "Figure"]]:
    """Contact sheet, augmentation preview and distribution of the targets; of train and val."""
    import numpy as np

    from project.figures import overview as drawing
    from project.figures.training import augmentation_sheet

    train, spec = data.train, data.spec
    if spec.classes:
        counts = np.array(list(overview.class_counts.values())).T.tolist()
        yield (
            "class_counts",
            drawing.class_counts(spec.classes, dict(zip(SPLITS, counts, strict=True))),
        )
    else:
        yield "targets", drawing.targets(train.targets, data.val.targets)
    if not spec.is_image:
        return
    names = spec.classes[:NUM_CLASSES] or ("train",)
    of_class = [
        np.flatnonzero(train.targets == index) if spec.classes else np.arange(len(train))
        for index in range(len(names))
    ]
    yield (
        "contact_sheet",
        drawing.contact_sheet(
            {
                name: train.inputs[places[:NUM_SHOWN]]
                for name, places in zip(names, of_class, strict=True)
            },
            NUM_SHOWN,
            f"{len(names)} of {len(spec.classes)} classes"
            if len(spec.classes) > len(names)
            else "",
        ),
    )
    if data.augment is not None:
        shown = np.array([places[0] for places in of_class if len(places)])[:NUM_SHOWN]
        before, indices = train.inputs[shown], train.indices[shown]
        after = [data.augment(before, epoch, indices) for epoch in range(3)]
        labels = [spec.classes[int(train.targets[i])] if spec.classes else "" for i in shown]
        yield "augmentation", augmentation_sheet(before, after, labels)


def main(arguments: Sequence[str]) -> None:
    """Looks at the data of a command line; prints tables and writes pictures."""
    from project.config.build import build_data
    from project.config.check import check
    from project.config.compose import compose
    from project.config.names import data_name
    from project.tracking.store import store_folder

    with stoppable():
        config = check(compose("train", arguments))
        data = build_data(config)
        name = data_name(config.data)
        overview = look(data, name)
        folder = store_folder() / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.png"):  # of the same name, but other settings
            old.unlink()
        (folder / "overview.json").write_text(to_json(overview))
        written = [folder / "overview.json"]
        for title, figure in figures(data, overview):
            figure.savefig(folder / f"{title}.png", dpi=120)
            written.append(folder / f"{title}.png")
    _show(overview, written)


def to_json(overview: Overview) -> str:
    """All of it, for people and programs."""
    return json.dumps(asdict(overview), indent=2, ensure_ascii=False)


def _show(overview: Overview, written: Sequence[Path]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    total = sum(overview.num_samples.values())
    splits = ", ".join(f"{name} {count}" for name, count in overview.num_samples.items())
    print(f"{overview.name}: {overview.task}, {total} samples of {overview.shape}: {splits}")
    if overview.class_counts:
        table = Table("class", *SPLITS)
        for name, counts in list(overview.class_counts.items())[:MAX_SHOWN]:
            table.add_row(escape(name), *map(str, counts))
        if len(overview.class_counts) > MAX_SHOWN:
            table.add_row(f"and {len(overview.class_counts) - MAX_SHOWN} more")
        console.print(table)
    else:
        print(f"target: mean {overview.target['mean']:g}, std {overview.target['std']:g} (train)")
    if overview.columns:
        table = Table("column", "values in train", "missing")
        for column in overview.columns[:MAX_SHOWN]:
            missing = f"{column['missing']:.1%}" if column["missing"] else ""
            table.add_row(escape(column["name"]), escape(column["values"]), missing)
        if len(overview.columns) > MAX_SHOWN:
            table.add_row(f"and {len(overview.columns) - MAX_SHOWN} more")
        console.print(table)
    for side, (least, median, greatest) in overview.sizes.items():
        print(f"{side} of the files: {least} to {greatest} pixels, median {median}")
    for index, channel in enumerate(overview.channels):
        print(f"channel {index}: mean {channel['mean']:.1f}, std {channel['std']:.1f} of 255")
    _show_duplicates(overview)
    if overview.num_left_out:
        print(f"{overview.num_left_out} left out:")
        for name, reason in list(overview.left_out.items())[:10]:
            print(f"  {name}: {reason}")
    print("written:\n" + "\n".join(f"  {path}" for path in written))


def _show_duplicates(overview: Overview) -> None:
    from project.data.splits import describe_duplicates

    for line in describe_duplicates(overview.duplicates):
        print(line)
    for pair, count in (overview.near_duplicates or {}).items():
        if count:
            first, second = pair.split("_")
            print(f"{count} more samples of {first} look like one of {second}")
    for left, right in overview.near_pairs[:5]:
        print(f"  {left} looks like {right}")
    if not any(overview.duplicates.values()):
        print("no sample is in two splits")


if __name__ == "__main__":
    run_command(main, __doc__)
