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
    """Draws points around a known line, so that a fit can be compared with the true parameters.

    Args:
        num_samples: Number of points over all splits, >= 1.
        weight: Slope of the line.
        bias: Value of the line at x = 0.
        noise: Standard deviation of the noise on y, >= 0.
        seed: Seed of the points and the noise.
    """
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, num_samples)
    y = weight * x + bias + noise * random.standard_normal(num_samples)
    return Source(x[:, np.newaxis].astype(np.float32), y.astype(np.float32))
