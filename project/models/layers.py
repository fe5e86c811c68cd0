"""Layers that all models share: inputs encoded and standardised, dropout, normalisation."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from project.core.types import Column, Spec

NormName = Literal["batch", "group", "none"]


class Encode(nn.Module):
    """Raw table rows (B, C) to features (B, F), as scikit-learn's ColumnTransformer does it.

    The features are, in this order: the imputed numbers, a flag for each numeric column that may
    have missing values, and the one-hot encoded categories.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        numbers = [i for i, column in enumerate(columns) if column.categories is None]
        flagged = [i for i in numbers if columns[i].is_flagged]
        pairs = [(i, j) for i, c in enumerate(columns) for j in range(len(c.categories or ()))]
        self.numbers = nn.Buffer(torch.tensor(numbers, dtype=torch.int64))
        self.fill = nn.Buffer(torch.tensor([columns[i].fill for i in numbers]))
        self.flagged = nn.Buffer(torch.tensor(flagged, dtype=torch.int64))
        self.categorical = nn.Buffer(torch.tensor([i for i, _ in pairs], dtype=torch.int64))
        self.codes = nn.Buffer(torch.tensor([float(j) for _, j in pairs]))

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
    """Raw inputs to standardised network inputs.

    Images (B, H, W, C) uint8 become (B, C, H, W). Moving the channels is a view: the result is in
    PyTorch's channels_last layout, the fast one. Table rows become features (B, F).
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        shape = (1, -1, 1, 1) if spec.is_image else (1, -1)
        self.mean = nn.Buffer(torch.tensor(spec.mean).view(shape))
        self.std = nn.Buffer(torch.tensor(spec.std).view(shape))
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


class Dropout(nn.Dropout):
    """Dropout whose mask does not depend on how many processes share a batch.

    Every rank draws the mask of the global batch and uses the rows of its own samples, which are
    r, r + ranks, ... on rank r (see ``project.data.sampling``).
    """

    def forward(self, input: Tensor) -> Tensor:
        """The input (B, ...), randomly zeroed and rescaled during training."""
        num_ranks = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        if not self.training or self.p == 0 or num_ranks == 1:
            return F.dropout(input, self.p, self.training)
        whole = torch.ones(len(input) * num_ranks, *input.shape[1:], device=input.device)
        mask = F.dropout(whole, self.p)[torch.distributed.get_rank() :: num_ranks]
        return input * mask.to(input.dtype)


def make_norm(name: NormName, channels: int) -> nn.Module:
    """Normalisation layer for (B, C, H, W); ``group`` has groups of 8 channels, or one group."""
    if name == "batch":
        return nn.BatchNorm2d(channels)
    if name == "group":
        return nn.GroupNorm(channels // 8 if channels % 8 == 0 else 1, channels)
    return nn.Identity()
