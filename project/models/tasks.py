"""The three tasks: their loss, their metrics, and their predictions as a user sees them."""

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanMetric, MeanSquaredError, MetricCollection, R2Score
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.image import PeakSignalNoiseRatio

from project.core.types import Spec


class Task(nn.Module):
    """Loss, metrics and predictions of one kind of problem.

    Args:
        spec: Shape, classes and statistics of the data.

    Attributes:
        kind: Name of the task as stored with a saved model.
        score: Metric by which checkpoints, runs and trials are compared.
        mode: Whether the score is minimised or maximised.
        gap: Metrics whose generalisation gap is logged, besides the loss.
    """

    kind: ClassVar[Literal["classification", "regression", "reconstruction"]]
    score: ClassVar[str]
    mode: ClassVar[Literal["min", "max"]]
    gap: ClassVar[tuple[str, ...]] = ()

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec

    def reference(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """True values (B, ...) that the predictions are compared with."""
        return targets

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a batch: a scalar.

        Args:
            outputs: Outputs of the network, (B, ...).
            inputs: Raw inputs, (B, H, W, C) or (B, F).
            targets: Class indices or values, (B,).
        """
        raise NotImplementedError

    def predict(self, outputs: Tensor) -> Tensor:
        """Predictions (B, ...) of the network's outputs, in the unit that users see."""
        raise NotImplementedError

    def metrics(self) -> MetricCollection:
        """New metrics that compare predictions with the reference."""
        raise NotImplementedError


class Regressor(Task):
    """Mean squared error of standardised targets; metrics in the targets' own unit.

    The loss is the MSE divided by the variance of the training targets, so that one learning rate
    fits targets in any unit.
    """

    kind = "regression"
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
        rmse = MeanSquaredError(squared=False)
        return MetricCollection({"rmse": rmse, "mae": MeanAbsoluteError(), "r2": R2Score()})


class Classifier(Task):
    """Cross entropy, with optional label smoothing and class weights during training.

    Attributes:
        label_smoothing: Probability mass moved to the wrong classes (arXiv:1512.00567).
        has_class_weights: Whether a sample is weighted by N / (classes x samples of its class).
    """

    kind = "classification"
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
        accuracy = MulticlassAccuracy(self.spec.num_outputs, average="micro", validate_args=False)
        f1 = MulticlassF1Score(self.spec.num_outputs, average="macro", validate_args=False)
        return MetricCollection({"accuracy": accuracy, "f1": f1})


class Reconstructor(Task):
    """Mean squared error between an image and its reconstruction, both in [0, 1]; no labels."""

    kind = "reconstruction"
    score = "loss"
    mode = "min"

    def reference(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The input images themselves, (B, H, W, C) in [0, 1]."""
        return inputs.float() / 255

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """See ``Task.loss``; outputs are (B, H, W, C) in [0, 1]."""
        return F.mse_loss(outputs.float(), self.reference(inputs, targets))

    def predict(self, outputs: Tensor) -> Tensor:
        """Reconstructed images (B, H, W, C) in [0, 1]."""
        return outputs.float()

    def metrics(self) -> MetricCollection:
        """See ``Task.metrics``; PSNR in dB, over all pixels together."""
        psnr = PeakSignalNoiseRatio(data_range=1.0)
        return MetricCollection({"mae": MeanAbsoluteError(), "psnr": psnr})


class SplitMetrics(nn.Module):
    """Loss and metrics over one split: exact means over samples for any batch sizes and ranks.

    Args:
        task: Task whose metrics are computed.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        # torchmetrics skips NaN by default; replaced by infinity, it makes the mean infinite.
        self.loss = MeanMetric(nan_strategy=math.inf)
        self.metrics = task.metrics()

    def update(self, loss: Tensor, predictions: Tensor, reference: Tensor) -> None:
        """Adds a batch: its mean loss, its predictions (B, ...) and the true values (B, ...)."""
        self.loss.update(loss, weight=len(reference))
        self.metrics.update(predictions, reference)

    def compute(self) -> dict[str, Tensor]:
        """Values by name, over all ranks; resets the metrics."""
        values = {"loss": self.loss.compute(), **self.metrics.compute()}
        self.loss.reset()
        self.metrics.reset()
        return values
