"""The three tasks: what the loss is, what is measured, and what a user gets to see."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection, R2Score
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.image import PeakSignalNoiseRatio

from project.core.types import Spec


class Task(nn.Module):
    """Loss and metrics of one kind of problem.

    Attributes:
        score: name of the metric by which checkpoints, runs and settings are compared.
        mode: whether the score is to be as large or as small as possible.
        gap: metrics whose generalisation gap is logged, besides the loss.
    """

    score: ClassVar[str]
    mode: ClassVar[Literal["min", "max"]]
    gap: ClassVar[tuple[str, ...]] = ()

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec

    def reference(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """What the predictions are compared with: (B, ...) in the unit of ``predict``."""
        return targets

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch.

        Args:
            outputs: of the network.
            inputs: raw, (B, H, W, C) or (B, F).
            targets: (B,).
        """
        raise NotImplementedError

    def predict(self, outputs: Tensor) -> Tensor:
        """Turns the network's outputs into what a user asks for."""
        raise NotImplementedError

    def metrics(self) -> MetricCollection:
        """Fresh metrics that compare predictions with the reference."""
        raise NotImplementedError


class Regressor(Task):
    """Mean squared error of standardised targets; metrics in the targets' own unit.

    The loss is the MSE divided by the variance of the training targets, so that one learning rate
    serves targets in any unit.
    """

    score = "rmse"
    mode = "min"

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """See ``Task.loss``; outputs are (B, 1)."""
        standardised = (targets - self.spec.target_mean) / self.spec.target_std
        return F.mse_loss(outputs.float().squeeze(1), standardised)

    def predict(self, outputs: Tensor) -> Tensor:
        """Values (B,) in the unit of the targets."""
        return outputs.float().squeeze(1) * self.spec.target_std + self.spec.target_mean

    def metrics(self) -> MetricCollection:
        """See ``Task.metrics``."""
        metrics: dict[str, Metric | MetricCollection] = {
            "rmse": MeanSquaredError(squared=False),
            "mae": MeanAbsoluteError(),
            "r2": R2Score(),
        }
        return MetricCollection(metrics)


class Classifier(Task):
    """Cross entropy; while training only, with label smoothing and class weights if asked for.

    Args:
        spec: of the data.

    Attributes:
        label_smoothing: see https://arxiv.org/abs/1512.00567.
        has_class_weights: a sample counts by N / (classes x samples of its class).
    """

    score = "accuracy"
    mode = "max"
    gap = ("accuracy",)
    class_weights: Tensor

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        self.label_smoothing = 0.0
        self.has_class_weights = False
        counts = torch.tensor(spec.class_counts or [1.0] * spec.num_outputs)
        weights = counts.sum() / (len(counts) * counts.clamp(min=1))
        self.register_buffer("class_weights", weights, persistent=False)

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """See ``Task.loss``; outputs are logits (B, classes)."""
        if not self.training:
            return F.cross_entropy(outputs.float(), targets)
        return F.cross_entropy(
            outputs.float(),
            targets,
            weight=self.class_weights if self.has_class_weights else None,
            label_smoothing=self.label_smoothing,
        )

    def predict(self, outputs: Tensor) -> Tensor:
        """Probabilities (B, classes)."""
        return outputs.float().softmax(dim=1)

    def metrics(self) -> MetricCollection:
        """See ``Task.metrics``."""
        num_classes = self.spec.num_outputs
        metrics: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(num_classes, average="micro", validate_args=False),
            "f1": MulticlassF1Score(num_classes, average="macro", validate_args=False),
        }
        return MetricCollection(metrics)


class Reconstructor(Task):
    """Mean squared error between a picture and its reconstruction, both in [0, 1]; no labels."""

    score = "loss"
    mode = "min"

    def reference(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The input itself, (B, H, W, C) in [0, 1]."""
        return inputs.float() / 255

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """See ``Task.loss``; outputs are (B, H, W, C) in [0, 1]."""
        return F.mse_loss(outputs.float(), self.reference(inputs, targets))

    def predict(self, outputs: Tensor) -> Tensor:
        """Pictures (B, H, W, C) in [0, 1]."""
        return outputs.float()

    def metrics(self) -> MetricCollection:
        """See ``Task.metrics``; PSNR in dB, over all pixels together."""
        metrics: dict[str, Metric | MetricCollection] = {
            "mae": MeanAbsoluteError(),
            "psnr": PeakSignalNoiseRatio(data_range=1.0),
        }
        return MetricCollection(metrics)
