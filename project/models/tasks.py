"""The three tasks: their loss, their metrics, and their predictions as a user sees them."""

import math
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
import torchmetrics as tm
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.image import PeakSignalNoiseRatio

from project.core.scores import Mode, mode_of
from project.core.types import Spec


class Task(nn.Module):
    """Loss, metrics and predictions of one kind of problem."""

    kind: ClassVar[Literal["classification", "regression", "reconstruction"]]
    score: ClassVar[str]  # metric by which checkpoints, runs and trials are compared
    gap: ClassVar[tuple[str, ...]] = ()  # metrics whose generalisation gap is logged

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec

    @property
    def mode(self) -> Mode:
        """Whether lower or higher scores are better."""
        return mode_of(self.score)

    def reference(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """True values (B, ...) that the predictions are compared with."""
        return targets

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of a network's outputs (B, ...) for raw inputs and targets (B,), a scalar."""
        raise NotImplementedError

    def predict(self, outputs: Tensor) -> Tensor:
        """Predictions (B, ...) of the network's outputs, in the unit that users see."""
        return outputs.float()

    def metrics(self) -> dict[str, tm.Metric]:
        """New metrics that compare predictions with the reference."""
        raise NotImplementedError


class Regressor(Task):
    """Mean squared error of standardised targets; metrics in the targets' own unit.

    The loss is the MSE divided by the variance of the training targets, so that one learning rate
    fits targets in any unit.
    """

    kind = "regression"
    score = "rmse"

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of outputs (B, 1)."""
        standardised = (targets - self.spec.target_mean) / self.spec.target_std
        return F.mse_loss(outputs.float().squeeze(1), standardised)

    def predict(self, outputs: Tensor) -> Tensor:
        """Values (B,) in the unit of the targets."""
        return outputs.float().squeeze(1) * self.spec.target_std + self.spec.target_mean

    def metrics(self) -> dict[str, tm.Metric]:
        """RMSE, MAE and R2."""
        rmse = tm.MeanSquaredError(squared=False)
        return {"rmse": rmse, "mae": tm.MeanAbsoluteError(), "r2": tm.R2Score()}


class Classifier(Task):
    """Cross entropy, with optional label smoothing and class weights during training."""

    kind = "classification"
    score = "accuracy"
    gap = ("accuracy",)
    label_smoothing = 0.0  # probability mass moved to the wrong classes (arXiv:1512.00567)
    has_class_weights = False

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec)
        counts = torch.tensor(spec.class_counts or [1.0] * spec.num_outputs)
        weights = counts.sum() / (len(counts) * counts.clamp(min=1))
        self.class_weights = nn.Buffer(weights, persistent=False)

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of logits (B, classes); plain cross entropy in eval mode."""
        if not self.training:
            return F.cross_entropy(outputs.float(), targets)
        weight = self.class_weights if self.has_class_weights else None
        smoothing = self.label_smoothing
        return F.cross_entropy(outputs.float(), targets, weight, label_smoothing=smoothing)

    def predict(self, outputs: Tensor) -> Tensor:
        """Probabilities (B, classes)."""
        return outputs.float().softmax(dim=1)

    def metrics(self) -> dict[str, tm.Metric]:
        """Accuracy, and F1 averaged over the classes."""
        accuracy = MulticlassAccuracy(self.spec.num_outputs, average="micro", validate_args=False)
        f1 = MulticlassF1Score(self.spec.num_outputs, average="macro", validate_args=False)
        return {"accuracy": accuracy, "f1": f1}


class Reconstructor(Task):
    """Mean squared error between an image and its reconstruction, both in [0, 1]; no labels."""

    kind = "reconstruction"
    score = "loss"

    def reference(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The input images themselves, (B, H, W, C) in [0, 1]."""
        return inputs.float() / 255

    def loss(self, outputs: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        """Loss of outputs (B, H, W, C) in [0, 1]."""
        return F.mse_loss(outputs.float(), self.reference(inputs, targets))

    def metrics(self) -> dict[str, tm.Metric]:
        """MAE, and PSNR in dB over all pixels together."""
        return {"mae": tm.MeanAbsoluteError(), "psnr": PeakSignalNoiseRatio(data_range=1.0)}


class SplitMetrics(tm.MetricCollection):
    """Loss and metrics over one split: exact means over samples for any batch sizes and ranks."""

    def __init__(self, task: Task) -> None:
        # torchmetrics skips NaN by default; replaced by infinity, it makes the mean infinite.
        super().__init__({"loss": tm.MeanMetric(nan_strategy=math.inf), **task.metrics()})

    def add(self, loss: Tensor, predictions: Tensor, reference: Tensor) -> None:
        """Adds a batch: its mean loss, its predictions (B, ...) and the true values (B, ...)."""
        weight = len(reference)
        self.update(value=loss, weight=weight, preds=predictions, target=reference)

    def compute(self) -> dict[str, Tensor]:
        """Values by name, the loss first, over all ranks; resets the metrics."""
        values = super().compute()
        self.reset()
        return {"loss": values.pop("loss"), **values}
