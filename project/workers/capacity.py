"""How many workers this machine can run, and on which devices."""

from typing import Literal

import joblib
import psutil
import torch

from project.config.check import TrainerSettings
from project.core.errors import UserError
from project.training.devices import Devices, choose_devices

MEMORY = 1.5e9  # bytes of main memory per worker with a small network
MAX_WORKERS = 16  # default limit on CPUs


def choose_workers(
    requested: int | Literal["auto"],
    settings: TrainerSettings,
    devices_per_run: int,
    command: str = "sweep",
) -> tuple[int, Devices]:
    """Chooses the number of workers and the devices of each.

    Args:
        requested: Number of workers. ``auto`` uses one per group of GPUs; without GPUs one per
            core, limited by memory, as small networks train faster in parallel than on several
            threads.
        settings: Trainer settings of the runs.
        devices_per_run: Number of devices that train one run together.
        command: Command whose settings are named in error messages.

    Raises:
        UserError: The machine has too few devices.
    """
    if settings.devices != "auto":
        key = " (sweep.devices_per_trial)" if command == "sweep" else ""
        raise UserError(
            f"trainer.devices: {settings.devices}: expected auto: "
            f"each worker uses {devices_per_run}{key}"
        )
    try:
        devices = choose_devices(settings.model_copy(update={"devices": devices_per_run}))
    except UserError as error:
        reason = str(error).partition(": ")[2]
        raise UserError(f"sweep.devices_per_trial: {reason}") from None
    is_gpu = devices.accelerator == "gpu"
    available = torch.cuda.device_count() if is_gpu else joblib.cpu_count()
    most = available // devices_per_run
    if requested == "auto":
        if not is_gpu:
            memory = int(psutil.virtual_memory().available // MEMORY)
            most = min(most, MAX_WORKERS, memory)
        return max(1, most), devices
    if is_gpu and requested > most:
        raise UserError(
            f"{command}.workers: {requested}: expected at most {most}: there are {available} GPUs "
            f"and each worker uses {devices_per_run}"
        )
    return requested, devices
