"""Figures of a regressor: true against predicted values, and residuals."""

from matplotlib.figure import Figure
from matplotlib.ticker import AutoLocator
from sklearn.metrics import PredictionErrorDisplay

from project.core.arrays import Array
from project.figures.style import MARK, VAL, clean, new_figure

POINTS = {"s": 16, "alpha": 0.6, "color": VAL, "edgecolors": "none"}
LINE = {"color": MARK, "linewidth": 1, "linestyle": "--"}


def predicted_against_true(targets: Array, predictions: Array) -> Figure:
    """Draws one point per sample; a perfect prediction lies on the diagonal.

    Args:
        targets: True values (N,) in their own unit.
        predictions: Predicted values (N,) in the same unit.
    """
    figure = new_figure(5, 4.6)
    axes = figure.subplots()
    display = PredictionErrorDisplay(y_true=targets, y_pred=predictions)
    line = {**LINE, "label": "perfect"}
    display.plot(axes, kind="actual_vs_predicted", scatter_kwargs=POINTS, line_kwargs=line)
    axes.legend(frameon=False)
    axes.xaxis.set_major_locator(AutoLocator())
    axes.yaxis.set_major_locator(AutoLocator())
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(f"val: {len(targets)} samples", fontsize=10)
    clean(axes)
    return figure


def residuals(targets: Array, predictions: Array) -> Figure:
    """Draws the residuals (true - predicted) over the prediction, and their distribution.

    Args:
        targets: True values (N,) in their own unit.
        predictions: Predicted values (N,) in the same unit.
    """
    errors = targets - predictions
    figure = new_figure(7.5, 3.8)
    axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    display = PredictionErrorDisplay(y_true=targets, y_pred=predictions)
    display.plot(axes, kind="residual_vs_predicted", scatter_kwargs=POINTS, line_kwargs=LINE)
    axes.set(xlabel="predicted", ylabel="true - predicted")
    beside.hist(errors, bins=20, orientation="horizontal", color=VAL, alpha=0.7)
    beside.axhline(0, **LINE)
    beside.set_xlabel("samples")
    clean(axes)
    clean(beside)
    title = f"val: mean {errors.mean():.3g}, standard deviation {errors.std():.3g}"
    axes.set_title(title, fontsize=10)
    return figure
