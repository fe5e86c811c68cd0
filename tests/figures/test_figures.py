"""Figures: what they draw, and that nothing of it is cut off or overlaps."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from project.figures import classification, reconstruction, regression, training

RANDOM = np.random.default_rng(0)


def images(count: int, channels: int = 1, size: int = 12) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, size, size, channels)).astype(np.uint8)


def classes(count: int) -> list[str]:
    return [f"class number {index}" for index in range(count)]


def probabilities(count: int, num_classes: int) -> np.ndarray:
    return RANDOM.dirichlet(np.ones(num_classes), count)


def counts(num_classes: int) -> np.ndarray:
    return np.diag(np.full(num_classes, 95)) + RANDOM.integers(0, 3, (num_classes, num_classes))


FIGURES = {
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
    "confusion of 2": lambda: classification.confusion_matrix(counts(2), classes(2), "val"),
    "confusion of 10": lambda: classification.confusion_matrix(counts(10), classes(10), "val"),
    "confusion of 40": lambda: classification.confusion_matrix(counts(40), classes(40), "val"),
    "mistakes": lambda: classification.worst_mistakes(
        images(90), RANDOM.integers(0, 5, 90), probabilities(90, 5), classes(5)
    ),
    "one mistake": lambda: classification.worst_mistakes(
        images(1, 3), np.array([1]), np.array([[0.9, 0.1]]), classes(2)
    ),
    "no mistakes": lambda: classification.worst_mistakes(
        images(2), np.array([0, 1]), np.eye(2), classes(2)
    ),
    "predictions": lambda: regression.predicted_against_true(
        RANDOM.normal(150, 70, 60), RANDOM.normal(150, 70, 60)
    ),
    "residuals": lambda: regression.residuals(
        RANDOM.normal(150, 70, 60), RANDOM.normal(150, 70, 60)
    ),
    "reconstructions": lambda: reconstruction.reconstructions(images(12), images(12) / 255),
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
    figure = classification.confusion_matrix(np.array([[3, 1], [0, 6]]), ["cat", "dog"], "val")
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
    figure = classification.worst_mistakes(
        images(4), np.array([0, 0, 0, 1]), chances, ["cat", "dog"]
    )
    shown = [(axes.get_title(), axes.get_xlabel()) for axes in figure.axes if axes.axison]
    assert shown == [
        ("dog 80%", "true: cat"),
        ("cat 70%", "true: dog"),
        ("dog 60%", "true: cat"),
    ]


def test_an_image_is_drawn_as_it_is() -> None:
    white = np.full((1, 8, 8, 1), 255, np.uint8)
    figure = training.augmentation_sheet(white, [white], ["white"])
    drawn = np.asarray(draw(figure).buffer_rgba())
    assert (drawn == 255).all(axis=-1).mean() > 0.5
    (grey,) = {axes.images[0].get_clim() for axes in figure.axes}
    assert grey == (0, 255)
