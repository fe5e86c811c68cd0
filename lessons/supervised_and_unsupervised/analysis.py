"""Classifiers with few labels on an autoencoder's code and on the pixels."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array, Indices
from project.figures.robustness import accuracy_curves
from project.figures.style import Values, as_label, panel
from project.models.autoencoder import Autoencoder

NUM_LABELS = (10, 100, 1000)
CLASSIFIERS = {
    "probe": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "neighbours": KNeighborsClassifier(n_neighbors=1),
}
ENCODE_BATCH = 1024
MAX_LETTERS = 2  # longer class names would hide each other among the dots


def encode(trained: Trained, images: Array) -> Array:
    """Codes (N, latent_size) of raw images (N, H, W, C)."""
    model = trained.model
    assert isinstance(model, Autoencoder)
    with torch.inference_mode():
        parts = torch.from_numpy(images).split(ENCODE_BATCH)
        return torch.cat([model.encode(part) for part in parts]).numpy()


def choose(targets: Array, count: int, seed: int) -> Indices:
    """A random choice of samples with the class proportions of all; all if there are too few."""
    places = np.arange(len(targets))
    if count >= len(targets):
        return places
    num_classes = len(np.unique(targets))
    stratify = targets if num_classes <= min(count, len(targets) - count) else None
    chosen, _ = train_test_split(places, train_size=count, random_state=seed, stratify=stratify)
    return np.asarray(chosen)


def measure(trained: Trained) -> dict[str, float]:
    """Accuracies on val by number of labels, on codes and on pixels, and their differences."""
    train, val = trained.data.train, trained.data.val
    inputs = {
        "code": [encode(trained, part.inputs[:]) for part in (train, val)],
        "pixels": [part.inputs[:].reshape(len(part), -1) / 255 for part in (train, val)],
    }
    measured: dict[str, float] = {}
    for count in NUM_LABELS:
        chosen = choose(train.targets, count, trained.seed)
        for name, classifier in CLASSIFIERS.items():
            for kind, (known, unseen) in inputs.items():
                classifier.fit(known[chosen], train.targets[chosen])
                measured[f"{name}_{kind}/{count}"] = float(classifier.score(unseen, val.targets))
            gain = measured[f"{name}_code/{count}"] - measured[f"{name}_pixels/{count}"]
            measured[f"{name}_gain/{count}"] = gain
    return measured


def figures(runs: Runs) -> Iterator[Drawn]:
    """Codes of two numbers as a map, and accuracies over the number of labels."""
    for variant, (trained, *_) in runs.items():
        if trained.config.model["latent_size"] == 2:
            val = trained.data.val
            yield (
                "latent_space",
                draw_latent_space(
                    encode(trained, val.inputs[:]), val.targets, trained.data.spec.classes
                ),
                f"{variant}: each dot is the code of a validation image, coloured by a label that "
                "the autoencoder has never seen.",
            )
    curves = {
        title: {
            f"code: {variant}" if kind == "code" else kind: [
                (NUM_LABELS, [each.metrics[f"{name}_{kind}/{count}"] for count in NUM_LABELS])
                for each in of_variant
            ]
            for variant, of_variant in runs.items()
            for kind in ("code", "pixels")
        }
        for name, title in (("probe", "linear probe"), ("neighbours", "nearest neighbour"))
    }
    yield "labels", draw_label_curves(curves)


def draw_latent_space(codes: Array, targets: Array, classes: Sequence[str]) -> Figure:
    """Codes (N, 2) as dots, coloured by class; ``targets`` (N,) are indices into ``classes``."""
    figure, axes = panel(6.2, 4.6)
    axes.set(xlabel="first number of the code", ylabel="second number of the code")
    colours = colormaps["tab10" if len(classes) <= 10 else "tab20"].colors  # type: ignore[attr-defined]
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.75, "lw": 0}
    style: dict[str, Any] = {"fontsize": 11, "weight": "bold", "ha": "center", "va": "center"}
    for index, (name, colour) in enumerate(zip(map(as_label, classes), cycle(colours))):
        chosen = codes[targets == index]
        axes.plot(*chosen.T, "o", color=colour, markersize=3, alpha=0.6, label=name)
        if len(chosen) and len(name) <= MAX_LETTERS:
            axes.annotate(name, np.median(chosen, axis=0), bbox=box, **style)
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    return figure


def draw_label_curves(
    curves: Mapping[str, Mapping[str, Sequence[tuple[Sequence[int], Values]]]],
) -> Figure:
    """Numbers of labels and accuracies of each seed, by classifier and input."""
    figure = accuracy_curves(curves, dict.fromkeys(curves, "labels"))
    for axes in figure.axes:
        axes.set_xscale("log")
        axes.set_xticks(NUM_LABELS, [f"{count:,}" for count in NUM_LABELS])
    return figure


ANALYSIS = Analysis(
    tuple(
        f"{name}_{kind}/{count}"
        for name in CLASSIFIERS
        for kind in ("code", "pixels", "gain")
        for count in NUM_LABELS
    ),
    measure,
    figures,
    supports=lambda model: isinstance(model, Autoencoder),
    needs="model=autoencoder",
)
