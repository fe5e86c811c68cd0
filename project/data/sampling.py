"""The samples of each batch, as a function of (seed, epoch), shared among the ranks."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from project.core.arrays import Array, Indices

Key = tuple[int, Indices]  # epoch, positions in the split


class Batches(Sampler[Key]):
    """Yields whole batches, for a loader with ``batch_size=None``.

    Every rank draws the same global batches and takes every ``num_ranks``-th sample of each, so
    that two processes together see what one process sees. Training drops the incomplete batch at
    the end of an epoch; the order changes from epoch to epoch, so no sample is dropped for good.

    Args:
        num_samples: Number of samples in the split.
        batch_size: Number of samples per batch, over all ranks.
        seed: Seed of the shuffled order of each epoch; None keeps the order and the last batch.
        rank: Index of this process.
        num_ranks: Number of processes.
        classes: (num_samples,) class indices, each class is then drawn equally often, with
            replacement; None draws every sample once.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int | None = None,
        rank: int = 0,
        num_ranks: int = 1,
        classes: Array | None = None,
    ) -> None:
        self.num_samples = num_samples
        self.batch_size = min(batch_size, num_samples)
        self.seed = seed
        self.rank = rank
        self.num_ranks = num_ranks
        self.probabilities: Array | None = None
        if classes is not None:
            counts = np.bincount(classes)
            self.probabilities = 1 / (counts[classes] * np.count_nonzero(counts))
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, from 0; Lightning calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.seed is not None:
            return self.num_samples // self.batch_size
        return -(-len(range(self.rank, self.num_samples, self.num_ranks)) // self._rank_size)

    @property
    def _rank_size(self) -> int:
        return max(1, self.batch_size // self.num_ranks)

    def __iter__(self) -> Iterator[Key]:
        if self.seed is None:
            mine = np.arange(self.rank, self.num_samples, self.num_ranks)
            for start in range(0, len(mine), self._rank_size):
                yield self.epoch, mine[start : start + self._rank_size]
            return
        random = np.random.default_rng((self.seed, self.epoch))
        if self.probabilities is None:
            order = random.permutation(self.num_samples)
        else:
            order = random.choice(self.num_samples, self.num_samples, p=self.probabilities)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield self.epoch, order[start : start + self.batch_size][self.rank :: self.num_ranks]
