"""Shares of the splits; apart from the code that cuts, so that a config is checked fast."""

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from project.core.types import Seed, Share

SPLITS = ("train", "val", "test")


class Splits(BaseModel):
    """Shares of the splits and the seed that draws them.

    The seed is separate from the run's seed, so that runs with different seeds share one test set.
    An official test set stays as it is, and the remaining samples are cut at train : val.

    Attributes:
        train: Share of the training split, in (0, 1).
        val: Share of the validation split, in (0, 1).
        test: Share of the test split, in (0, 1); the three sum to 1.
        seed: Seed of the draw.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    train: Share = 0.6
    val: Share = 0.1
    test: Share = 0.3
    seed: Seed = 0

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        if abs((total := self.train + self.val + self.test) - 1) > 1e-6:
            raise ValueError(f"expected train, val and test to sum to 1, they sum to {total:g}")
        return self
