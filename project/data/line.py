"""Points on a known straight line with noise: y = weight * x + bias + noise."""

import numpy as np

from project.core.types import Count, NonNegative, Seed
from project.data.source import Source


def line(
    num_samples: Count = 200,
    weight: float = 2.0,
    bias: float = -1.0,
    noise: NonNegative = 0.1,
    seed: Seed = 0,
) -> Source:
    """Draws points whose true line is known, so that a fit can be checked against it.

    Args:
        num_samples: points in all splits together.
        weight: slope of the line.
        bias: its height at x = 0.
        noise: standard deviation of the noise on y.
        seed: of the points and the noise.
    """
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, num_samples)
    y = weight * x + bias + noise * random.standard_normal(num_samples)
    return Source(x[:, np.newaxis].astype(np.float32), y.astype(np.float32))
