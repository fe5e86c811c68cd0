"""The LightningModule under every model: steps, losses, metrics and optimiser, written once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from project.core.errors import TrainingError
from project.core.types import Spec
from project.models.layers import Scale
from project.models.penalty import Penalty
from project.models.tasks import Classifier, Regressor, SplitMetrics, Task

Batch = tuple[Tensor, Tensor]  # inputs and targets


@dataclass(frozen=True)
class Recipe:
    """How a model is trained."""

    seed: int  # of dropout
    optimizer: Callable[[list[dict[str, Any]]], Optimizer]  # from parameter groups
    scheduler: Callable[[Optimizer, int], LRScheduler]  # from the total number of steps
    penalty: Penalty  # on the weights, added to the loss
    label_smoothing: float = 0.0  # probability mass moved to the wrong classes during training
    has_class_weights: bool = False  # whether the training loss weighs all classes equally
    gradient_clip: float | None = None  # maximum norm of all gradients together


def split_by_decay(parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
    """Two groups for an optimiser: weights; biases and norms, which are not decayed."""
    every = list(parameters)
    weights, others = [p for p in every if p.ndim > 1], [p for p in every if p.ndim <= 1]
    return [{"params": weights}, {"params": others, "weight_decay": 0.0}]


class Model(pl.LightningModule):
    """Base class of all models; a subclass adds its network and ``forward``."""

    needs: ClassVar[Literal["image", "any"]] = "any"
    task_type: ClassVar[type[Task] | None] = None  # None uses the task of the data
    has_phases: bool = False  # whether some parameters are frozen in some epochs
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
        self.val_metrics = SplitMetrics(self.task)
        self.train_metrics = SplitMetrics(self.task)
        self._step: dict[str, Any] = {}  # metrics of the current step
        self._losses: list[Tensor] = []  # of the current epoch's steps

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs of the network for raw inputs, (B, H, W, C) uint8 or (B, F) float32."""
        raise NotImplementedError

    def prepare(self, recipe: Recipe) -> None:
        """Sets how the model is trained; raises ValueError if the task lacks one of the options."""
        self.recipe = recipe
        if isinstance(self.task, Classifier):
            self.task.label_smoothing = recipe.label_smoothing
            self.task.has_class_weights = recipe.has_class_weights
        elif recipe.label_smoothing:
            raise ValueError(
                f"label_smoothing: {recipe.label_smoothing}: expected 0 for a task without classes"
            )
        elif recipe.has_class_weights:
            raise ValueError("class_weights: balanced: expected none for a task without classes")

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Trained weights; biases and norms, which are not decayed (arXiv:1812.01187)."""
        return split_by_decay(p for p in self.parameters() if p.requires_grad)

    def make_optimizer(self) -> Optimizer:
        """The recipe's optimiser; a group's ``lr_factor`` scales its learning rate."""
        optimizer = self.recipe.optimizer(self.parameter_groups())
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_factor", 1.0)
        return optimizer

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The recipe's optimiser, and its schedule over all steps of the run."""
        optimizer = self.make_optimizer()
        num_steps = int(self.trainer.estimated_stepping_batches)
        schedule: Any = {"scheduler": self.recipe.scheduler(optimizer, num_steps)}
        return {"optimizer": optimizer, "lr_scheduler": schedule | {"interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Starts the clock of the epoch, which includes the loader's start but not validation."""
        self._losses = []
        self._started = perf_counter()
        self._num_samples = 0

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Makes dropout a function of (seed, epoch): the same before and after a resume."""
        if batch_idx == 0:  # not at the epoch's start, because a new loader iterator draws a number
            state = np.random.SeedSequence((self.recipe.seed, self.current_epoch)).generate_state(1)
            torch.manual_seed(int(state[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch plus the penalty on the weights."""
        inputs, targets = batch
        loss = self.task.loss(self(inputs), inputs, targets)
        self._num_samples += len(inputs)
        self._step = {"train/loss": loss.detach()}
        if not self.recipe.penalty:
            return loss
        penalty = self.recipe.penalty(self)
        self._step["train/penalty"] = penalty.detach()
        return loss + penalty

    def configure_gradient_clipping(self, *arguments: Any, **options: Any) -> None:
        """Measures the norm of all gradients together, and clips it if the recipe does."""
        trained = [p for p in self.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
        if self.recipe.gradient_clip is not None:
            nn.utils.clip_grads_with_norm_(trained, self.recipe.gradient_clip, norm)
        self._step["train/grad_norm"] = norm

    def on_train_batch_end(self, *arguments: Any) -> None:
        """Passes the step's metrics to the logger as tensors, without waiting for a GPU."""
        loss = self.trainer.strategy.reduce(self._step["train/loss"], reduce_op="mean")
        # The previous loss has been computed by now, so that checking it doesn't wait for a GPU.
        if self._losses:
            self._check_finite(self._losses[-1], self.trainer.global_step - 1)
        self._losses.append(loss)
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        self._step |= {"train/loss": loss, "train/lr": lr}
        if self.logger is not None:
            self.logger.log_metrics(self._step, self.trainer.global_step)

    def on_validation_epoch_start(self) -> None:
        """Stops the clock of the training epoch."""
        if self._losses:
            self._check_finite(self._losses[-1], self.trainer.global_step)
            self._seconds = perf_counter() - self._started

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Evaluates a batch of val (loader 0), or of train without augmentation (loader 1)."""
        inputs, targets = batch
        # In fp32 whatever the training precision, because the fp32 model is what gets exported.
        with torch.autocast(self.device.type, enabled=False):
            outputs = self(inputs)
        metrics = (self.val_metrics, self.train_metrics)[dataloader_idx]
        loss = self.task.loss(outputs, inputs, targets)
        metrics.add(loss, self.task.predict(outputs), self.task.reference(inputs, targets))

    def on_validation_epoch_end(self) -> None:
        """Logs the epoch's metrics on val and on train, and the gaps between them."""
        val, train = self.val_metrics.compute(), self.train_metrics.compute()
        self._check_finite(val["loss"], self.trainer.global_step, "val/loss")
        metrics = {f"val/{name}": value for name, value in val.items()}
        metrics |= {f"train/{name}": value for name, value in train.items() if name != "loss"}
        metrics["gap/loss"] = val["loss"] - train["loss"]
        metrics |= {f"gap/{name}": train[name] - val[name] for name in self.task.gap}
        if self._losses:
            metrics["train/loss_epoch"] = torch.stack(self._losses).mean()
            num_samples = self._num_samples * self.trainer.world_size
            metrics["train/samples_per_second"] = torch.tensor(num_samples / self._seconds)
        self.log_dict(metrics, sync_dist=False)

    def on_train_epoch_end(self) -> None:
        """Saves the epoch's metrics before its checkpoint: a resumed run must not repeat them."""
        if self.logger is not None:
            self.logger.save()

    def _check_finite(self, value: Tensor, step: int, name: str = "train/loss") -> None:
        if not torch.isfinite(value):
            epoch = self.trainer.current_epoch + 1
            raise TrainingError(
                f"{name} is {value.item()} at step {step} (epoch {epoch}): expected a finite "
                "number; a lower optimizer.lr or trainer.gradient_clip may help"
            )
