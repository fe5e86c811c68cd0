"""A hand-written training loop: no Trainer, no tracking, no overhead.

It takes the same batches (same order, same augmentation) through the same network with the same
optimiser and schedule as the project's own run of a config.
"""

from dataclasses import dataclass
from time import perf_counter

import torch
from torch import nn

from project.config.build import build_data, build_model
from project.config.check import Config
from project.training.devices import Devices


@dataclass(frozen=True)
class Timing:
    """Speed and accuracy of a loop.

    Attributes:
        samples_per_second: Training samples per second, without validation.
        accuracy: Accuracy on val after the last epoch.
    """

    samples_per_second: float
    accuracy: float


def train_by_hand(
    config: Config, devices: Devices, use_bf16: bool, use_channels_last: bool
) -> Timing:
    """Trains by that config and measures the epochs after the first, which warms up."""
    device = devices.torch_device
    data = build_data(config)
    torch.manual_seed(config.seed)
    model = build_model(config, data.spec).to(device)
    if use_channels_last:
        model.to(memory_format=torch.channels_last)
    loader = data.train_dataloader()
    optimizer = model.recipe.optimizer(model.parameter_groups())
    num_epochs = config.trainer.max_epochs
    scheduler = model.recipe.scheduler(optimizer, num_epochs * len(loader))
    layout = Nchw() if not use_channels_last else nn.Identity()
    seconds, samples = 0.0, 0
    for epoch in range(num_epochs):
        model.train()
        loader.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        started = perf_counter()
        for inputs, targets in loader:
            inputs, targets = layout(inputs.to(device)), targets.to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=use_bf16):
                loss = model.task.loss(model(inputs), inputs, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            if epoch > 0 or num_epochs == 1:
                samples += len(inputs)
        if device.type == "cuda":
            torch.cuda.synchronize()
        if epoch > 0 or num_epochs == 1:
            seconds += perf_counter() - started
    return Timing(samples / seconds, _accuracy(model, data.val_dataloader()[0], device))


class Nchw(nn.Module):
    """Lays raw (B, H, W, C) images out so that the network sees plain NCHW memory."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The same pixels, (B, H, W, C), with each channel in one piece of memory."""
        return inputs.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)


@torch.inference_mode()
def _accuracy(model: nn.Module, loader: object, device: torch.device) -> float:
    model.eval()
    right = total = 0
    for inputs, targets in loader:  # type: ignore[attr-defined]
        right += int((model(inputs.to(device)).argmax(1).cpu() == targets).sum())
        total += len(targets)
    return right / total
