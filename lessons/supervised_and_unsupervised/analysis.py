"""Classifiers with few labels on an autoencoder's code and on the pixels."""

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array, Indices
from project.models.autoencoder import Autoencoder

from . import figures as drawing

NUM_LABELS = (10, 100, 1000)
CLASSIFIERS = {"probe": "linear probe", "neighbours": "nearest neighbour"}
INPUTS = ("code", "pixels")
ENCODE_BATCH = 1024


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


def _classifier(name: str) -> ClassifierMixin:
    if name == "probe":
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return KNeighborsClassifier(n_neighbors=1)


def measure(trained: Trained) -> dict[str, float]:
    """Accuracies on val by number of labels, on codes and on pixels, and their differences."""
    train, val = trained.data.train, trained.data.val
    pixels = [part.inputs[:].reshape(len(part), -1) / 255 for part in (train, val)]
    codes = [encode(trained, part.inputs[:]) for part in (train, val)]
    measured: dict[str, float] = {}
    for count in NUM_LABELS:
        chosen = choose(train.targets, count, trained.seed)
        for name in CLASSIFIERS:
            for kind, (known, unseen) in zip(INPUTS, (codes, pixels), strict=True):
                classifier = _classifier(name).fit(known[chosen], train.targets[chosen])
                accuracy = classifier.score(unseen, val.targets)
                measured[f"{name}_{kind}/{count}"] = float(accuracy)
            gain = measured[f"{name}_code/{count}"] - measured[f"{name}_pixels/{count}"]
            measured[f"{name}_gain/{count}"] = gain
    return measured


def figures(runs: Runs) -> Iterator[Drawn]:
    """Codes of two numbers as a map, and accuracies over the number of labels."""
    for variant, (trained, *_) in runs.items():
        if trained.config.model["latent_size"] == 2:
            val = trained.data.val
            codes = encode(trained, val.inputs[:])
            yield (
                "latent_space",
                drawing.latent_space(codes, val.targets, trained.data.spec.classes),
                f"{variant}: each dot is the code of a validation image, coloured by a label that "
                "the autoencoder has never seen.",
            )
    curves = {
        title: {
            f"{kind}: {variant}" if kind == "code" else kind: [
                [trained.metrics[f"{name}_{kind}/{count}"] for count in NUM_LABELS]
                for trained in of_variant
            ]
            for variant, of_variant in runs.items()
            for kind in INPUTS
        }
        for name, title in CLASSIFIERS.items()
    }
    yield (
        "labels",
        drawing.label_curves(curves, NUM_LABELS),
        "Accuracy on val over the number of labels, on codes and on pixels: mean over seeds, with "
        "the range of the seeds as a band.",
    )


ANALYSIS = Analysis(
    tuple(
        f"{name}_{kind}/{count}"
        for name in CLASSIFIERS
        for kind in (*INPUTS, "gain")
        for count in NUM_LABELS
    ),
    measure,
    figures,
    supports=lambda model: isinstance(model, Autoencoder),
    needs="model=autoencoder",
)
