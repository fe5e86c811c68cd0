"""What every data set is once it has been read."""

from dataclasses import dataclass

from project.types import Array, TaskName


@dataclass(frozen=True)
class Source:
    """A whole data set in memory.

    Attributes:
        inputs: (N, H, W, C) uint8 images, or (N, F) float32 table rows.
        targets: (N,) int64 class indices, or (N,) float32 values.
        classes: a name for each class index; empty where the targets are values.
        num_test: how many samples at the end are the official test set; 0 where there is none.
    """

    inputs: Array
    targets: Array
    classes: tuple[str, ...] = ()
    num_test: int = 0

    @property
    def task(self) -> TaskName:
        """What the targets are."""
        return "classification" if self.classes else "regression"
