"""Figure of a fitted line."""

from matplotlib.figure import Figure

from lessons.descent import one_panel
from project.core.arrays import Array, Curve
from project.figures.style import MARK, TRAIN, VAL


def fitted_line(points: Curve, x: Array, descended: Array, exact: Array) -> Figure:
    """Points, and two lines through them.

    Args:
        points: Coordinates x and y of the training samples.
        x: Positions (N,) at which the lines are drawn.
        descended: Values (N,) of gradient descent.
        exact: Values (N,) of the closed form.
    """
    figure, axes = one_panel("x", "y")
    axes.plot(*points, ".", color=MARK, alpha=0.35, label="training points")
    axes.plot(x, exact, "-", color=TRAIN, linewidth=6, alpha=0.5, label="closed form", zorder=3)
    axes.plot(x, descended, "--", color=VAL, label="gradient descent", zorder=4)
    axes.legend(frameon=False)
    return figure
