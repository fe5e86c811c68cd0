"""Disease progression of 442 diabetes patients (Efron et al., 2004), from scikit-learn."""

import numpy as np
from sklearn.datasets import load_diabetes

from project.data.source import Source


def diabetes() -> Source:
    """Reads the table in raw units; the target is a score of progression after one year."""
    table = load_diabetes(scaled=False)
    return Source(table.data.astype(np.float32), table.target.astype(np.float32))
