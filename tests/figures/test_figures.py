"""Figures draw the right values, and nothing is cut off or overlaps."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from lessons.cnn_anatomy import analysis as anatomy
from lessons.descent import draw_losses
from lessons.gradient_descent import figures as descent
from lessons.graph_and_session import analysis as graph
from lessons.linear_regression import analysis as regression_line
from lessons.overfitting import analysis as overfitting
from lessons.regularisation import analysis as regularisation
from lessons.supervised_and_unsupervised import analysis as latent
from project.figures import comparison, data, predictions, robustness, training
from project.reports.robustness import CORRUPTIONS

RANDOM = np.random.default_rng(0)


def images(count: int, channels: int = 1, size: int = 12) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, size, size, channels)).astype(np.uint8)


def classes(count: int) -> list[str]:
    return [f"class number {index}" for index in range(count)]


def probabilities(count: int, num_classes: int) -> np.ndarray:
    return RANDOM.dirichlet(np.ones(num_classes), count)


def counts(num_classes: int) -> np.ndarray:
    return np.diag(np.full(num_classes, 95)) + RANDOM.integers(0, 3, (num_classes, num_classes))


ODD = ["a class whose name has many more letters than there is space", "$10_$20", "猫", "$x_1$"]
VARIANTS = [f"variant {n}" for n in range(8)]
SPLITS = ("50/15/35", "60/10/30", "70/5/25")
NODES = [(f"aten.operation_{n}", "s x 128 x 14 x 14") for n in range(17)]
FIGURES = {
    "contact sheet": lambda: data.contact_sheet({name: images(5, 3) for name in classes(12)}),
    "class counts": lambda: data.class_counts(
        {name: RANDOM.integers(1, 90, 3).tolist() for name in classes(60)}, ("train", "val", "test")
    ),
    "class counts of two": lambda: data.class_counts(
        {"a": [5, 1, 2], "b": [3, 1, 2]}, ("train", "val", "test")
    ),
    "targets": lambda: data.targets(RANDOM.normal(size=200), RANDOM.normal(size=20) * 5),
    "curves": lambda: training.learning_curves(
        {
            "loss": (np.geomspace(2, 0.01, 20), np.geomspace(2, 0.1, 20)),
            "accuracy": (np.linspace(0.3, 1, 20), np.linspace(0.3, 0.9, 20)),
        },
        best_epoch=17,
    ),
    "curves of one epoch": lambda: training.learning_curves(
        {"rmse": (np.array([1.0]), np.array([2.0]))}, best_epoch=1
    ),
    "augmentation": lambda: training.augmentation_sheet(
        images(8), [images(8), images(8)], classes(8)
    ),
    "augmentation of one colour image": lambda: training.augmentation_sheet(
        images(1, 3), [images(1, 3)], classes(1)
    ),
    "confusion of 2": lambda: predictions.confusion_matrix(counts(2), classes(2), "val"),
    "confusion of 10": lambda: predictions.confusion_matrix(counts(10), classes(10), "val"),
    "confusion of 40": lambda: predictions.confusion_matrix(counts(40), classes(40), "val"),
    "mistakes": lambda: predictions.worst_mistakes(
        images(90), RANDOM.integers(0, 5, 90), probabilities(90, 5), classes(5)
    ),
    "one mistake": lambda: predictions.worst_mistakes(
        images(1, 3), np.array([1]), np.array([[0.9, 0.1]]), classes(2)
    ),
    "no mistakes": lambda: predictions.worst_mistakes(
        images(2), np.array([0, 1]), np.eye(2), classes(2)
    ),
    "predictions": lambda: predictions.predicted_against_true(
        RANDOM.normal(150, 70, 60), RANDOM.normal(150, 70, 60)
    ),
    "residuals": lambda: predictions.residuals(
        RANDOM.normal(150, 70, 60), RANDOM.normal(150, 70, 60)
    ),
    "reconstructions": lambda: predictions.reconstructions(images(10), images(10) / 255),
    "measures": lambda: comparison.measures(
        {
            f"group/a measure number {n}": {v: list(RANDOM.random(5)) for v in VARIANTS}
            for n in range(7)
        }
    ),
    "measures without a value": lambda: comparison.measures(
        {"val/loss": {"one": [], "two": [1.0]}}
    ),
    "curves of variants": lambda: comparison.curves(
        {
            name: {v: [(np.arange(1, 9), RANDOM.random(8)) for _ in range(3)] for v in VARIANTS}
            for name in ("val/loss", "val/accuracy")
        }
    ),
    "robustness": lambda: robustness.accuracy_curves(
        {
            name: {v: [(each.amounts, list(RANDOM.random(5)))] * 2 for v in VARIANTS}
            for name, each in CORRUPTIONS.items()
        },
        {name: each.unit for name, each in CORRUPTIONS.items()},
    ),
    "corruptions": lambda: robustness.corruption_sheet(
        {k: dict(zip(each.amounts, images(5), strict=True)) for k, each in CORRUPTIONS.items()}
    ),
    "reliability": lambda: robustness.reliability(
        RANDOM.random(80), RANDOM.random(80) < 0.5, error=0.123
    ),
    "weights": lambda: regularisation.draw_weights(
        {f"{v}: 12.3% near 0": RANDOM.normal(size=500) for v in VARIANTS}
    ),
    "parting": lambda: overfitting.draw_parting(
        {
            v: (np.geomspace(2, 0.01, 30), 0.4 + 0.1 * np.abs(np.arange(1, 31) - epoch))
            for v, epoch in zip(VARIANTS, (7, 40, 20, 30, 1), strict=False)
        }
    ),
    "splits": lambda: overfitting.draw_splits(
        [
            (
                f"train/val/test {name} %",
                [(split, size, RANDOM.random(5)) for split, size in (("val", 90), ("test", 12345))],
            )
            for name in SPLITS
        ]
    ),
    "odd names: contact sheet": lambda: data.contact_sheet({n: images(8) for n in ODD}),
    "odd names: class counts": lambda: data.class_counts({name: [9] for name in ODD}, ("train",)),
    "odd names: confusion": lambda: predictions.confusion_matrix(counts(4), ODD, "val"),
    "odd names: mistakes": lambda: predictions.worst_mistakes(
        images(90), RANDOM.integers(0, 4, 90), probabilities(90, 4), ODD
    ),
    "odd names: augmentation": lambda: training.augmentation_sheet(images(4), [images(4)], ODD),
    "odd names: latent space": lambda: latent.draw_latent_space(
        RANDOM.normal(size=(200, 2)), RANDOM.integers(0, 4, 200), ODD
    ),
    "odd names: variants": lambda: comparison.measures({"a": {n: [1.0, 2.0] for n in ODD}}),
    "odd names: curves": lambda: comparison.curves(
        {"val/loss": {n: [(np.arange(1, 9), RANDOM.random(8))] for n in ODD}}
    ),
    "filters": lambda: anatomy.draw_filters(RANDOM.normal(size=(16, 3, 3))),
    "feature maps": lambda: anatomy.draw_feature_maps(
        {"image": RANDOM.random((1, 28, 28)), "convolution 1": RANDOM.random((32, 28, 28))}
    ),
    "receptive fields": lambda: anatomy.draw_receptive_fields(
        {f"{n} blocks": np.pad(np.ones((4, 4), bool), 6) for n in range(1, 4)},
        images(1, size=16)[0],
    ),
    "overlays": lambda: anatomy.draw_overlays(images(5), RANDOM.random((5, 12, 12)), classes(5)),
    "graphs": lambda: graph.draw_graphs(NODES, NODES[:7]),
    "times": lambda: graph.draw_times(
        {
            f"ms per call, batch size {n}": {"mlp, eager": [1.0, 9.0], "mlp, session": [0.2, 5.0]}
            for n in (1, 256)
        }
    ),
    "latent space": lambda: latent.draw_latent_space(
        RANDOM.normal(size=(200, 2)), RANDOM.integers(0, 10, 200), classes(10)
    ),
    "labels": lambda: latent.draw_label_curves(
        {
            name: {v: [((10, 100, 1000), RANDOM.random(3)) for _ in "123"] for v in VARIANTS[:3]}
            for name in ("a", "b")
        }
    ),
    "fitted line": lambda: regression_line.draw_line(
        (RANDOM.random(50), RANDOM.random(50)), np.arange(5), np.arange(5) + 0.1, np.arange(5)
    ),
    "loss over steps": lambda: draw_losses(
        {v: (np.arange(50), np.geomspace(1, 0.01, 50)) for v in VARIANTS[:2]},
        "train/loss (MSE, standardised)",
        dict.fromkeys(VARIANTS[:2], 0.005),
    ),
    "learning rates": lambda: descent.draw_learning_rates(
        {"too small": (0.01, 0.3), "right": (0.5, 1e-15), "too large": (1.1, 1e9)}, 0.99
    ),
}


def draw(figure: Figure) -> FigureCanvasAgg:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off(name: str) -> None:
    figure = FIGURES[name]()
    drawn = figure.get_tightbbox(draw(figure).get_renderer())  # inches
    width, height = figure.get_size_inches()
    slack = 0.03
    assert -slack < drawn.x0
    assert -slack < drawn.y0
    assert drawn.x1 < width + slack
    assert drawn.y1 < height + slack


@pytest.mark.parametrize("name", FIGURES)
def test_titles_and_labels_do_not_overlap(name: str) -> None:
    figure = FIGURES[name]()
    renderer = draw(figure).get_renderer()
    labels = [figure._suptitle] if figure._suptitle else []
    for axes in figure.axes:
        if axes.axison:
            labels += [axes.title, axes.xaxis.label, axes.yaxis.label]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in labels if t.get_text()]
    for index, (first, box) in enumerate(boxes):
        for second, other in boxes[index + 1 :]:
            inner = Bbox.intersection(box, other)
            assert inner is None or min(inner.width, inner.height) < 2, (first, second)


def test_learning_curves_mark_the_best_epoch() -> None:
    val = np.array([0.5, 0.9, 0.7])
    figure = training.learning_curves({"accuracy": (val, val)}, best_epoch=2)
    (axes,) = figure.axes
    assert axes.get_title() == "best epoch 2: val/accuracy 0.9"
    assert {line.get_label() for line in axes.lines} >= {"train", "val"}
    marked = [line for line in axes.lines if list(line.get_xdata()) == [2]]
    assert marked
    assert list(marked[0].get_ydata()) == [0.9]


def test_a_confusion_matrix_has_true_classes_in_rows() -> None:
    figure = predictions.confusion_matrix(np.array([[3, 1], [0, 6]]), ["cat", "dog"], "val")
    axes = figure.axes[0]
    assert axes.get_title() == "val: 9 of 10 right (90.00%)"
    assert {(t.get_position(), t.get_text()) for t in axes.texts} == {
        ((0, 0), "3"),
        ((1, 0), "1"),
        ((1, 1), "6"),
    }
    assert axes.get_xlabel() == "predicted"
    assert axes.get_ylabel() == "true"


def test_the_worst_mistakes_are_the_most_confident_ones() -> None:
    chances = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    figure = predictions.worst_mistakes(images(4), np.array([0, 0, 0, 1]), chances, ["cat", "dog"])
    shown = [(axes.get_title(), axes.get_xlabel()) for axes in figure.axes if axes.axison]
    assert shown == [("dog 80%", "true: cat"), ("cat 70%", "true: dog"), ("dog 60%", "true: cat")]


def test_an_image_is_drawn_as_it_is() -> None:
    white = np.full((1, 8, 8, 1), 255, np.uint8)
    figure = training.augmentation_sheet(white, [white], ["white"])
    drawn = np.asarray(draw(figure).buffer_rgba())
    assert (drawn == 255).all(axis=-1).mean() > 0.5
    (grey,) = {axes.images[0].get_clim() for axes in figure.axes}
    assert grey == (0, 255)


def test_the_rise_on_val_fills_a_visible_part_of_its_panel() -> None:
    train, val = np.geomspace(3, 1e-6, 40), 0.5 + np.abs(np.arange(40) - 10) * 0.02
    figure = overfitting.draw_parting({"overfitted": (train, val), "flat": (train, val * 0 + 0.5)})
    low, high = figure.axes[0].get_ylim()
    assert figure.axes[0].get_yscale() == "linear"
    assert (val[-1] - val.min()) / (high - low) > 0.4
