"""Layers that several models use."""

from typing import Literal

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

NormName = Literal["batch", "group", "none"]


class Dropout(nn.Dropout):
    """Dropout whose mask does not depend on how many processes share a batch.

    Every rank draws the mask of the global batch and uses the rows of its own samples, which are
    r, r + ranks, ... on rank r (see ``project.data.samples``).
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
