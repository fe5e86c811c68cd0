"""Types of arrays."""

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]
Curve = tuple[Array, Array]  # x and y


class Indexed(Protocol):
    """Samples read on access: an array, or rows of a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any: ...
