"""Checks that every searched key has an effect, by building and training two steps."""

import hashlib

from project.config.build import build_data
from project.config.check import Config
from project.core.errors import UserError
from project.data.module import DataModule
from project.sweep.space import Space
from project.training.devices import make_model

NUM_STEPS = 100  # steps of the learning-rate schedule that are compared


def check_space(space: Space, config: Config, data: DataModule) -> None:
    """Checks that each searched key changes the training, but not the validation samples.

    Args:
        space: Search space.
        config: Config of the trials.
        data: Data of that config.

    Raises:
        UserError: Names the key that is wrong.
    """
    hashes: dict[str, set[str]] = {}
    for key, value, changed in space.variants(config):
        try:
            changed_data = build_data(changed)
            if changed_data.fingerprints["val"] != data.fingerprints["val"]:
                raise UserError(f"{key}: {value}: changes the val split, on which trials compare")
            hashes.setdefault(key, set()).add(_hash_training(changed, changed_data))
        except UserError as error:
            raise UserError(f"search.{error}") from None
    for key, distribution in space.distributions.items():
        if len(hashes[key]) == 1:
            raise UserError(
                f"search.{key}: {distribution}: has no effect on the training: "
                "expected a key with an effect, and values that differ"
            )


def _hash_training(config: Config, data: DataModule) -> str:
    """Hashes the first steps of a training, and the settings that determine the others."""
    model = make_model(config, data)
    optimizer = model.recipe.optimizer(model.parameter_groups())
    loader = data.train_dataloader()
    scheduler = model.recipe.scheduler(optimizer, NUM_STEPS)
    digest = hashlib.sha256(repr((config.trainer, len(loader), loader.num_workers)).encode())
    # Read without worker processes: their number doesn't change the batches.
    batch = data.train[next(iter(loader.sampler))]
    digest.update(batch[0].numpy().tobytes())
    model.train()
    model.on_train_epoch_start()
    for step in range(NUM_STEPS):
        if step < 2:  # the second step shows momentum and weight decay
            optimizer.zero_grad()
            model.training_step(batch, step).backward()
            optimizer.step()
        scheduler.step()
        digest.update(repr([group["lr"] for group in optimizer.param_groups]).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()
