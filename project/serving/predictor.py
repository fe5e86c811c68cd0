"""A saved model with its contract: raw inputs in, a table of predictions out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from project.core.arrays import Array
from project.data.tables.columns import encode_frame
from project.models.contract import Contract
from project.tracking.models import load

PREDICT_BATCH = 256  # inputs per forward pass


@dataclass(frozen=True)
class SavedModel:
    """A saved model, loaded on the CPU.

    Attributes:
        network: Function from raw inputs (B, ...) to predictions (B, ...).
        contract: Inputs and outputs of the network.
    """

    network: Callable[[Tensor], Tensor]
    contract: Contract

    def encode(self, frame: pd.DataFrame, key: str) -> tuple[Array, list[str], Array]:
        """Encodes the rows of a table; see ``encode_frame``."""
        return encode_frame(frame, self.contract.columns, self.contract.shape[0], key)

    @torch.inference_mode()
    def predict(self, inputs: Iterable[Array]) -> Array:
        """Predicts in batches.

        Args:
            inputs: Raw inputs, (H, W, C) uint8 or (F,) float32 each.

        Returns:
            (N, classes) probabilities, (N,) values of a regression, or (N,) mean squared errors of
            reconstructions.
        """
        shape = (0, len(self.contract.classes)) if self.contract.classes else (0,)
        parts = [np.empty(shape, dtype=np.float32)]
        remaining = iter(inputs)
        while batch := list(islice(remaining, PREDICT_BATCH)):
            batch_inputs = torch.from_numpy(np.stack(batch))
            outputs = self.network(batch_inputs)
            if self.contract.task == "reconstruction":
                outputs = ((outputs - batch_inputs.float() / 255) ** 2).flatten(1).mean(dim=1)
            parts.append(outputs.numpy())
        return np.concatenate(parts)

    def to_table(self, predictions: Array, top_k: int | None = None) -> pd.DataFrame:
        """Tabulates predictions, one row per input.

        Args:
            predictions: Result of ``predict``.
            top_k: Number of most probable classes to list, in order; None lists the probability of
                every class.
        """
        if not self.contract.classes:
            name = "error" if self.contract.task == "reconstruction" else "prediction"
            return pd.DataFrame({name: predictions})
        classes = np.array(self.contract.classes, dtype=object)
        order = np.argsort(-predictions, axis=1, kind="stable")
        ranked = np.take_along_axis(predictions, order, axis=1)
        table: dict[str, Any] = {"prediction": classes[order[:, 0]], "probability": ranked[:, 0]}
        if top_k is None:
            table |= {f"p_{name}": predictions[:, i] for i, name in enumerate(classes)}
        else:
            for rank in range(1, min(top_k, len(classes))):
                table[f"prediction_{rank + 1}"] = classes[order[:, rank]]
                table[f"probability_{rank + 1}"] = ranked[:, rank]
        return pd.DataFrame(table)


def load_model(run: str) -> SavedModel:
    """Loads the model of a run or of the registry; see ``project.tracking.models.load``."""
    network, contract = load(run)
    return SavedModel(network, Contract.model_validate(contract))
