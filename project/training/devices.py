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
    """Devices of a run."""

    accelerator: str  # `cpu` or `gpu`
    count: int  # number of processes, one per device

    @property
    def torch_device(self) -> torch.device:
        """The first device."""
        return torch.device("cuda" if self.accelerator == "gpu" else "cpu")

    def __str__(self) -> str:
        name = torch.cuda.get_device_name() if self.accelerator == "gpu" else "CPU"
        return f"{self.count} x {name}"


def choose_devices(settings: TrainerSettings, batch_size: int = 1) -> Devices:
    """Chooses the devices of a run; a UserError names the ones that the machine lacks.

    Args:
        batch_size: Number of samples that the number of GPUs must divide if it is ``auto``.
    """
    num_gpus = torch.cuda.device_count()
    use_gpu = settings.accelerator != "cpu" and num_gpus > 0
    if settings.accelerator == "gpu" and not use_gpu:
        raise UserError("trainer.accelerator: gpu: there is no GPU: expected auto or cpu")
    if settings.precision == "16-mixed" and not use_gpu:
        raise UserError(
            "trainer.precision: 16-mixed: expected auto, 32-true or bf16-mixed on a CPU"
        )
    if settings.devices != "auto":
        count, available = settings.devices, num_gpus if use_gpu else os.cpu_count() or 1
        if count > available:
            kind = "GPUs" if use_gpu else "CPU cores"
            raise UserError(f"trainer.devices: {count}: expected at most {available} {kind}")
    else:
        counts = range(1, num_gpus + 1) if use_gpu else [1]
        count = max(n for n in counts if batch_size % n == 0)
    return Devices("gpu" if use_gpu else "cpu", count)


def choose_precision(settings: TrainerSettings, model: nn.Module, devices: Devices) -> Any:
    """Training precision; ``auto`` is bf16 autocast for convolutions on hardware with bf16.

    Other networks are too small to gain from it; a linear regression needs more than three digits.
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
