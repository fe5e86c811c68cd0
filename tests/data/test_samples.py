"""Batches: a function of (seed, epoch), split among ranks without loss or repetition."""

import numpy as np
import pytest

from project.data.samples import Batches


def positions(batches: Batches) -> list[list[int]]:
    return [batch.tolist() for _, batch in batches]


def test_training_order_is_a_function_of_seed_and_epoch() -> None:
    batches = Batches(100, 16, seed=3)
    first = positions(batches)
    assert positions(batches) == first
    batches.set_epoch(1)
    assert positions(batches) != first
    batches.set_epoch(0)
    assert positions(batches) == first
    assert positions(Batches(100, 16, seed=4)) != first
    assert len(batches) == len(first) == 6
    drawn = np.concatenate(first)
    assert len(set(drawn.tolist())) == 96


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_ranks_see_together_what_one_process_sees(num_ranks: int) -> None:
    whole = positions(Batches(100, 16, seed=3))
    shares = [positions(Batches(100, 16, 3, rank, num_ranks)) for rank in range(num_ranks)]
    for step, batch in enumerate(whole):
        assert sorted(np.concatenate([share[step] for share in shares]).tolist()) == sorted(batch)
        assert batch[0] == shares[0][step][0]
        assert {len(share[step]) for share in shares} == {16 // num_ranks}


@pytest.mark.parametrize("num_samples", [1, 7, 8, 33])
@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_evaluation_sees_every_sample_once(num_samples: int, num_ranks: int) -> None:
    seen = []
    for rank in range(num_ranks):
        batches = Batches(num_samples, 4, None, rank, num_ranks)
        mine = positions(batches)
        assert len(mine) == len(batches)
        seen += [position for batch in mine for position in batch]
    assert sorted(seen) == list(range(num_samples))


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    assert [len(batch) for batch in positions(Batches(10, 64, seed=0))] == [10]
