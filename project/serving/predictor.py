"""Raw inputs of the user's own to answers: files or rows in, a table of predictions out."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from project.core.arrays import Array, Indexed
from project.data.tables.columns import encode_frame
from project.models.contract import Contract

BATCH = 256


@dataclass(frozen=True)
class Scorer:
    """A saved model, ready to answer.

    Attributes:
        network: raw inputs (B, ...) to predictions (B, ...).
        contract: what it takes and gives.
    """

    network: Callable[[Tensor], Tensor]
    contract: Contract

    def predict(self, inputs: Indexed) -> Array:
        """Predicts from raw inputs, (N, H, W, C) uint8 or (N, F) float32; see ``predict_each``."""
        return self._join(
            self._predict_batch(inputs[i : i + BATCH]) for i in range(0, len(inputs), BATCH)
        )

    def predict_each(self, inputs: Iterable[Array]) -> Array:
        """Predicts from one raw input after another, in batches.

        Args:
            inputs: (H, W, C) uint8 or (F,) float32 each.

        Returns:
            (N, classes) probabilities, (N,) values, or (N,) mean squared errors of
            reconstructions.
        """
        waiting = iter(inputs)
        batches = iter(lambda: list(islice(waiting, BATCH)), [])
        return self._join(self._predict_batch(np.stack(batch)) for batch in batches)

    @torch.inference_mode()
    def _predict_batch(self, inputs: Array) -> Array:
        given = torch.from_numpy(np.ascontiguousarray(inputs))
        found = self.network(given)
        if self.contract.task == "reconstruction":
            found = ((found - given.float() / 255) ** 2).flatten(1).mean(dim=1)
        return np.asarray(found.numpy())

    def _join(self, parts: Iterable[Array]) -> Array:
        shape = (0, len(self.contract.classes)) if self.contract.classes else (0,)
        return np.concatenate([np.empty(shape, dtype=np.float32), *parts])

    def answer(self, predictions: Array, top_k: int | None = None) -> pd.DataFrame:
        """Predictions in words: a row a sample.

        Args:
            predictions: from ``predict``.
            top_k: give only so many of the likeliest classes; None gives the probability of each.
        """
        if self.contract.task == "reconstruction":
            return pd.DataFrame({"error": predictions})
        if self.contract.task == "regression":
            return pd.DataFrame({"prediction": predictions})
        classes = np.array(self.contract.classes, dtype=object)
        order = np.argsort(-predictions, axis=1, kind="stable")
        ranked = np.take_along_axis(predictions, order, axis=1)
        table = {"prediction": classes[order[:, 0]], "probability": ranked[:, 0]}
        if top_k is None:
            table |= {f"p_{name}": predictions[:, i] for i, name in enumerate(classes)}
        else:
            for rank in range(1, min(top_k, len(classes))):
                table[f"prediction_{rank + 1}"] = classes[order[:, rank]]
                table[f"probability_{rank + 1}"] = ranked[:, rank]
        return pd.DataFrame(table)

    def read_rows(self, frame: pd.DataFrame, key: str) -> tuple[Array, list[str], Array]:
        """Rows as the model takes them; see ``encode_frame``."""
        return encode_frame(frame, self.contract.columns, self.contract.shape[0], key)


def join(
    name: str,
    names: Iterable[Any],
    answers: pd.DataFrame,
    usable: Sequence[bool] | Array,
    notes: Sequence[str],
) -> pd.DataFrame:
    """A table of all that was asked; what couldn't be predicted has gaps.

    Args:
        name: of the first column.
        names: of everything that was asked.
        answers: of what could be predicted, in order.
        usable: which those are.
        notes: on everything, empty where there is none.
    """
    rows = pd.RangeIndex(len(usable))
    table = answers.set_axis(rows[np.asarray(usable, dtype=bool)]).reindex(rows)
    table.insert(0, name, list(names))
    return table.assign(note=list(notes)) if any(notes) else table


def load_scorer(model: str) -> Scorer:
    """Loads a saved model; see ``project.tracking.models.load``."""
    from project.tracking.models import load

    network, contract = load(model)
    return Scorer(network, Contract.from_plain(contract))
