"""Chooses devices and precision, and builds a model in the memory layout that suits them."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from project.config.build import build_model
from project.config.check import Config, TrainerSettings
from project.core.errors import UserError
from project.data.module import DataModule
from project.models.base import Model


@dataclass(frozen=True)
class Devices:
    """Devices of a run.

    Attributes:
        accelerator: ``cpu`` or ``gpu``.
        count: Number of processes, one per device.
    """

    accelerator: str
    count: int

    @property
    def torch_device(self) -> torch.device:
        """The first device."""
        return torch.device("cuda" if self.accelerator == "gpu" else "cpu")

    def __str__(self) -> str:
        name = torch.cuda.get_device_name() if self.accelerator == "gpu" else "CPU"
        return f"{self.count} x {name}"


def choose_devices(settings: TrainerSettings, batch_size: int = 1) -> Devices:
    """Chooses the devices of a run.

    Args:
        settings: Trainer settings of the config.
        batch_size: Number of samples that the number of GPUs must divide if it is ``auto``.

    Raises:
        UserError: The machine lacks the devices.
    """
    num_gpus = torch.cuda.device_count()
    if settings.accelerator == "gpu" and num_gpus == 0:
        raise UserError("trainer.accelerator: gpu: there is no GPU: expected auto or cpu")
    use_gpu = settings.accelerator != "cpu" and num_gpus > 0
    if settings.precision == "16-mixed" and not use_gpu:
        raise UserError(
            "trainer.precision: 16-mixed: expected auto, 32-true or bf16-mixed on a CPU"
        )
    if settings.devices == "auto":
        if not use_gpu:
            return Devices("cpu", 1)
        return Devices("gpu", max(n for n in range(1, num_gpus + 1) if batch_size % n == 0))
    available = num_gpus if use_gpu else os.cpu_count() or 1
    if settings.devices > available:
        kind = "GPUs" if use_gpu else "CPU cores"
        raise UserError(f"trainer.devices: {settings.devices}: expected at most {available} {kind}")
    return Devices("gpu" if use_gpu else "cpu", settings.devices)


def choose_precision(settings: TrainerSettings, model: nn.Module, devices: Devices) -> Any:
    """Training precision; ``auto`` is bf16 autocast for convolutions on hardware with bf16.

    Fully connected networks are too small to gain from it, and a linear regression needs more than
    the three digits of bf16.
    """
    if settings.precision != "auto":
        return settings.precision
    if devices.accelerator == "gpu":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if has_bf16 and _has_convolutions(model) else "32-true"


def make_model(config: Config, data: DataModule) -> Model:
    """Builds the untrained model, with weights drawn from the seed, in the fastest layout."""
    torch.manual_seed(config.seed)
    model = build_model(config, data.spec)
    if _has_convolutions(model):
        model.to(memory_format=torch.channels_last)
    return model


def _has_convolutions(model: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in model.modules())
