"""What a code that was learned without labels is worth to a classifier with few of them."""

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lessons.supervised_and_unsupervised import figures as drawing
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array, Indices
from project.models.autoencoder import Autoencoder

NUM_LABELS = (10, 100, 1000)
CLASSIFIERS = ("probe", "neighbours")
INPUTS = ("code", "pixels")
BATCH = 1024


def encode(trained: Trained, images: Array) -> Array:
    """Codes (N, latent_size) of raw images (N, H, W, C)."""
    model = trained.model
    assert isinstance(model, Autoencoder)
    with torch.inference_mode():
        parts = [model.encode(torch.from_numpy(part)) for part in _batches(images)]
    return torch.cat(parts).numpy()


def _batches(images: Array) -> Iterator[Array]:
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH]


def choose(targets: Array, count: int, seed: int) -> Indices:
    """As many samples of each class as their share asks for, at random."""
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
    found: dict[str, float] = {}
    for count in NUM_LABELS:
        chosen = choose(train.targets, count, trained.seed)
        for name in CLASSIFIERS:
            for kind, (known, asked) in zip(INPUTS, (codes, pixels), strict=True):
                classifier = _classifier(name).fit(known[chosen], train.targets[chosen])
                found[f"{name}_{kind}/{count}"] = float(classifier.score(asked, val.targets))
            gain = found[f"{name}_code/{count}"] - found[f"{name}_pixels/{count}"]
            found[f"{name}_gain/{count}"] = gain
    return found


def figures(runs: Runs) -> Iterator[Drawn]:
    """The code of two numbers as a map, and accuracies over the number of labels."""
    for variant, of_variant in runs.items():
        if of_variant and of_variant[0].config.model["latent_size"] == 2:
            val = of_variant[0].data.val
            yield (
                "latent_space",
                drawing.latent_space(
                    encode(of_variant[0], val.inputs[:]),
                    val.targets,
                    of_variant[0].data.spec.classes,
                ),
                f"{variant}: each dot is a validation image where the encoder puts it, coloured by "
                "a label that no one has shown to it.",
            )
    curves = {
        name: {
            f"{kind}: {variant}" if kind == "code" else kind: [
                [trained.metrics[f"{name}_{kind}/{count}"] for count in NUM_LABELS]
                for trained in of_variant
            ]
            for variant, of_variant in runs.items()
            if of_variant
            for kind in INPUTS
        }
        for name in CLASSIFIERS
    }
    titles = {"probe": "linear probe", "neighbours": "nearest neighbour"}
    yield (
        "labels",
        drawing.label_curves({titles[name]: by for name, by in curves.items()}, NUM_LABELS),
        "Accuracy on val over the number of labels, on codes and on pixels: mean over seeds, and "
        "their range as a band.",
    )


ANALYSIS = Analysis(
    tuple(
        f"{name}_{what}/{count}"
        for name in CLASSIFIERS
        for what in (*INPUTS, "gain")
        for count in NUM_LABELS
    ),
    measure,
    figures,
    fits=lambda model: isinstance(model, Autoencoder),
    needs="model=autoencoder",
)
