"""The LightningModule under every model: steps, losses, metrics and optimiser, written once."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from project.core.errors import TrainingError
from project.core.types import Column, Spec
from project.models.penalty import Penalty
from project.models.tasks import Classifier, Regressor, Task

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        optimizer: makes one from parameter groups.
        scheduler: makes one from an optimiser and the number of steps in all.
        penalty: of the weights, added to the loss.
        label_smoothing: probability mass given to the wrong classes while training.
        has_class_weights: while training, each class counts as much as any other.
        gradient_clip: greatest norm of all gradients together; None clips nothing.
    """

    optimizer: Callable[[list[dict[str, Any]]], Optimizer]
    scheduler: Callable[[Optimizer, int], LRScheduler]
    penalty: Penalty
    label_smoothing: float = 0.0
    has_class_weights: bool = False
    gradient_clip: float | None = None


class Encode(nn.Module):
    """Raw table rows to features, (B, C) to (B, F): as scikit-learn's ColumnTransformer does it.

    Numbers come first, the missing ones filled in; then a flag for each column that may have such;
    then for each category of each column whether the row has it.

    Args:
        columns: what the training split has shown.
    """

    numbers: Tensor
    fill: Tensor
    flagged: Tensor
    categorical: Tensor
    codes: Tensor

    def __init__(self, columns: Sequence[Column]) -> None:
        super().__init__()
        numbers = [i for i, column in enumerate(columns) if column.categories is None]
        pairs = [
            (i, code) for i, c in enumerate(columns) for code in range(len(c.categories or ()))
        ]
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64))
        self.register_buffer("fill", torch.tensor([columns[i].fill for i in numbers]))
        flagged = [i for i in numbers if columns[i].is_flagged]
        self.register_buffer("flagged", torch.tensor(flagged, dtype=torch.int64))
        self.register_buffer("categorical", torch.tensor([i for i, _ in pairs], dtype=torch.int64))
        self.register_buffer("codes", torch.tensor([float(j) for _, j in pairs]))

    def forward(self, rows: Tensor) -> Tensor:
        """Features of raw rows; a category that training has not seen has none of its own."""
        parts = []  # without the empty ones, which not every exported graph can take
        if len(self.numbers):
            numbers = rows[:, self.numbers]
            parts.append(torch.where(torch.isnan(numbers), self.fill, numbers))
        if len(self.flagged):
            parts.append(torch.isnan(rows[:, self.flagged]).to(rows.dtype))
        if len(self.codes):
            parts.append((rows[:, self.categorical] == self.codes).to(rows.dtype))
        return torch.cat(parts, dim=1)


class Scale(nn.Module):
    """Raw inputs to network inputs, standardised.

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
        """Standardised float32 of raw inputs."""
        return (self.arrange(inputs) - self.mean) / self.std

    def arrange(self, inputs: Tensor) -> Tensor:
        """Float32 of raw inputs, in their own units."""
        if inputs.ndim == 4:
            inputs = inputs.permute(0, 3, 1, 2)
        inputs = inputs.float()
        return inputs if self.encode is None else self.encode(inputs)


class Evaluation(nn.Module):
    """Loss and metrics over one split: exact means over samples, whatever the batches and ranks.

    Args:
        task: gives the metrics.
    """

    def __init__(self, task: Task) -> None:
        super().__init__()
        # By default NaN would be left out; this way a mean over it is not finite either.
        self.loss = MeanMetric(nan_strategy=math.inf)
        self.metrics = task.metrics()

    def update(self, loss: Tensor, predictions: Tensor, reference: Tensor) -> None:
        """Adds a batch: its mean loss, and (B, ...) predictions and what they should have been."""
        self.loss.update(loss, weight=len(reference))
        self.metrics.update(predictions, reference)

    def compute(self) -> dict[str, Tensor]:
        """Values by name, over all ranks; starts anew."""
        values = {"loss": self.loss.compute(), **self.metrics.compute()}
        self.loss.reset()
        self.metrics.reset()
        return values


class Model(pl.LightningModule):
    """What all models share; a model adds its network and ``forward``.

    Args:
        spec: of the data.

    Attributes:
        needs: the kind of samples that the network works on.
        task_type: the task, where the model has one of its own instead of the data's.
        has_phases: whether there are epochs in which some parameters are not trained.
        recipe: how it is trained; set by ``prepare``.
    """

    needs: ClassVar[Literal["image", "any"]] = "any"
    task_type: ClassVar[type[Task] | None] = None
    has_phases: bool = False
    recipe: Recipe

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        if self.needs == "image" and not spec.is_image:
            raise ValueError(
                f"needs images, the data are rows of {spec.shape[0]} columns: "
                "expected model=linear or model=mlp"
            )
        self.spec = spec
        by_data = Classifier if spec.task == "classification" else Regressor
        self.task = (self.task_type or by_data)(spec)
        self.scale = Scale(spec)
        self.val_evaluation = Evaluation(self.task)
        self.train_evaluation = Evaluation(self.task)
        self._step: dict[str, Tensor | float] = {}
        self._losses: list[Tensor] = []

    def forward(self, inputs: Tensor) -> Tensor:
        """Maps raw inputs, (B, H, W, C) uint8 or (B, F) float32, to the network's outputs."""
        raise NotImplementedError

    def prepare(self, recipe: Recipe) -> None:
        """Makes the model ready to be trained by that recipe.

        Raises:
            ValueError: the recipe asks for what the task doesn't have.
        """
        self.recipe = recipe
        if isinstance(self.task, Classifier):
            self.task.label_smoothing = recipe.label_smoothing
            self.task.has_class_weights = recipe.has_class_weights
        elif recipe.label_smoothing:
            smoothing = recipe.label_smoothing
            raise ValueError(f"label_smoothing: {smoothing}: it works on classes only, expected 0")
        elif recipe.has_class_weights:
            raise ValueError("class_weights: balanced: it works on classes only, expected none")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Trained weights, and biases and norms, which are not decayed (arXiv:1812.01187)."""
        return split_by_decay(p for p in self.parameters() if p.requires_grad)

    def make_optimizer(self) -> Optimizer:
        """The recipe's optimiser; a group with an ``lr_factor`` has that share of its rate."""
        optimizer = self.recipe.optimizer(self.parameter_groups())
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_factor", 1.0)
        return optimizer

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimiser, and its schedule over all steps of the run."""
        optimizer = self.make_optimizer()
        num_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = self.recipe.scheduler(optimizer, num_steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_train_epoch_start(self) -> None:
        """Starts the clock; the loader's start-up counts, validation doesn't."""
        self._losses = []
        self._started = perf_counter()
        self._num_samples = 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch, plus the penalty of the weights."""
        inputs, targets = batch
        loss = self.task.loss(self(inputs), inputs, targets)
        self._num_samples += len(inputs)
        self._step = {"train/loss": loss.detach()}
        if self.recipe.penalty.is_zero:
            return loss
        penalty = self.recipe.penalty(self)
        self._step["train/penalty"] = penalty.detach()
        return loss + penalty

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Measures the norm of all gradients together, and clips it where the recipe says so."""
        trained = [p for p in self.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        if self.recipe.gradient_clip is not None:
            torch.nn.utils.clip_grads_with_norm_(trained, self.recipe.gradient_clip, norm)
        self._step["train/grad_norm"] = norm

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Hands the step's metrics to the logger; they stay tensors, so a GPU is not waited for."""
        loss = self._step["train/loss"]
        assert isinstance(loss, Tensor)
        if self.trainer.world_size > 1:
            loss = self._step["train/loss"] = self.trainer.strategy.reduce(loss, reduce_op="mean")
        # The loss before this one: its value is there already, so that nothing has to wait.
        if self._losses:
            self._check_finite(self._losses[-1], self.trainer.global_step - 1)
        self._losses.append(loss)
        self._step["train/lr"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        if self.logger is not None:
            self.logger.log_metrics(self._step, self.trainer.global_step)  # type: ignore[arg-type]

    def on_validation_epoch_start(self) -> None:
        """Stops the clock of the training epoch."""
        if self._losses:
            self._check_finite(self._losses[-1], self.trainer.global_step)
            self._seconds = perf_counter() - self._started

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measures a batch of val (loader 0), or of train as it is, without augmentation (1)."""
        inputs, targets = batch
        # In fp32, whatever the precision of training: measured is the model that will be exported.
        with torch.autocast(self.device.type, enabled=False):
            outputs = self(inputs)
        evaluation = (self.val_evaluation, self.train_evaluation)[dataloader_idx]
        evaluation.update(
            self.task.loss(outputs, inputs, targets),
            self.task.predict(outputs),
            self.task.reference(inputs, targets),
        )

    def on_validation_epoch_end(self) -> None:
        """Logs the epoch: val, train (measured like val) and the gaps between them."""
        val, train = self.val_evaluation.compute(), self.train_evaluation.compute()
        metrics = {f"val/{name}": value for name, value in val.items()}
        metrics |= {f"train/{name}": value for name, value in train.items() if name != "loss"}
        metrics["gap/loss"] = val["loss"] - train["loss"]
        metrics |= {f"gap/{name}": train[name] - val[name] for name in self.task.gap}
        self._check_finite(val["loss"], self.trainer.global_step, "val/loss")
        if self._losses:
            metrics["train/loss_epoch"] = torch.stack(self._losses).mean()
            num_samples = self._num_samples * self.trainer.world_size
            metrics["train/samples_per_second"] = torch.tensor(num_samples / self._seconds)
        self.log_dict(metrics, sync_dist=False)

    def on_train_epoch_end(self) -> None:
        """Saves the epoch's metrics before its checkpoint: a resumed run doesn't log them again."""
        if self.logger is not None:
            self.logger.save()

    def _check_finite(self, value: Tensor, step: int, name: str = "train/loss") -> None:
        if not torch.isfinite(value):
            epoch = self.trainer.current_epoch + 1
            raise TrainingError(
                f"{name} is {value.item()} at step {step} (epoch {epoch}): "
                "expected a finite number; a lower optimizer.lr or trainer.gradient_clip may help"
            )


def split_by_decay(parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Groups for an optimiser: weights, and biases and norms, which are not decayed."""
    weights, others = list[nn.Parameter](), list[nn.Parameter]()
    for parameter in parameters:
        (weights if parameter.ndim > 1 else others).append(parameter)
    return [{"params": weights}, {"params": others, "weight_decay": 0.0}]


class Predictor(nn.Module):
    """A trained model as others use it: raw inputs in, predictions out, nothing else to know.

    Args:
        model: its weights are shared, not copied.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        """Predicts from raw inputs, (B, H, W, C) uint8 or (B, F) float32."""
        return self.model.task.predict(self.model(inputs))
