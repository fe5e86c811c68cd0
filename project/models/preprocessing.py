"""Raw inputs to network inputs: encoding of table columns, and standardisation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from project.core.types import Column, Spec


class Encode(nn.Module):
    """Raw table rows (B, C) to features (B, F), as scikit-learn's ColumnTransformer does it.

    The features are, in this order: the imputed numbers, a flag for each numeric column that may
    have missing values, and the one-hot encoded categories.
    """

    numbers: Tensor
    fill: Tensor
    flagged: Tensor
    categorical: Tensor
    codes: Tensor

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        numbers = [i for i, column in enumerate(columns) if column.categories is None]
        flagged = [i for i in numbers if columns[i].is_flagged]
        pairs = [(i, j) for i, c in enumerate(columns) for j in range(len(c.categories or ()))]
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64))
        self.register_buffer("fill", torch.tensor([columns[i].fill for i in numbers]))
        self.register_buffer("flagged", torch.tensor(flagged, dtype=torch.int64))
        self.register_buffer("categorical", torch.tensor([i for i, _ in pairs], dtype=torch.int64))
        self.register_buffer("codes", torch.tensor([float(j) for _, j in pairs]))

    def forward(self, rows: Tensor) -> Tensor:
        """Features of raw rows; a category that training has not seen is encoded as all zeros."""
        parts = []  # non-empty parts only: some exported formats can't concatenate empty tensors
        if len(self.numbers):
            numbers = rows[:, self.numbers]
            parts.append(torch.where(torch.isnan(numbers), self.fill, numbers))
        if len(self.flagged):
            parts.append(torch.isnan(rows[:, self.flagged]).to(rows.dtype))
        if len(self.codes):
            parts.append((rows[:, self.categorical] == self.codes).to(rows.dtype))
        return torch.cat(parts, dim=1)


class Scale(nn.Module):
    """Raw inputs to standardised network inputs, or to inputs in their own units (``arrange``).

    Images (B, H, W, C) uint8 become (B, C, H, W). Moving the channels is a view: the result is in
    PyTorch's channels_last layout, the fast one. Table rows become features (B, F).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        shape = (1, -1, 1, 1) if spec.is_image else (1, -1)
        self.register_buffer("mean", torch.tensor(spec.mean).view(shape))
        self.register_buffer("std", torch.tensor(spec.std).view(shape))
        self.encode = Encode(spec.columns) if spec.columns else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Standardised float32 inputs."""
        return (self.arrange(inputs) - self.mean) / self.std

    def arrange(self, inputs: Tensor) -> Tensor:
        """Float32 inputs in their own units, channels first, columns encoded."""
        if inputs.ndim == 4:
            inputs = inputs.permute(0, 3, 1, 2)
        inputs = inputs.float()
        return inputs if self.encode is None else self.encode(inputs)
