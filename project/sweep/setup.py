"""Opens the study of a sweep and its parent run, after everything has been checked."""

import hashlib
import json
from dataclasses import replace

from project.config.build import build_data
from project.config.check import Config
from project.core.errors import UserError
from project.data.module import DataModule
from project.sweep.plan import Space, SweepPlan
from project.sweep.search import Search
from project.sweep.storage import open_storage, reachable
from project.sweep.study import Study
from project.tracking.find import find_parent
from project.tracking.run import Run
from project.tracking.store import open_store
from project.train import warn_of_data
from project.training.devices import Devices, make_model

# Keys that may differ between machines that work on one study.
LOCAL_KEYS = ("data.root", "data.num_workers", "trainer.accelerator")
NUM_STEPS = 100  # steps of the learning-rate schedule that are compared


@reachable()
def open_search(plan: SweepPlan, devices: Devices) -> Search:
    """Checks the plan with its data, model and devices; only then opens study and parent run."""
    trainer = plan.config.trainer.model_copy(update={"devices": devices.count})
    config = plan.config.model_copy(update={"trainer": trainer})
    data = build_data(config)
    data.check_devices(devices.count)
    warn_of_data(data)
    task = make_model(config, data).task
    check_space(plan.space, config, data)
    storage = open_storage(plan.settings.storage)
    open_store()
    name = plan.settings.study or f"{config.data_name}-{config.model_name}"
    study = Study(storage, name, replace(plan, config=config), task.mode)
    with study.lock("setup"):
        return Search(study, _open_parent(study, data), task.score)


def check_space(space: Space, config: Config, data: DataModule) -> None:
    """Checks that each searched key changes the training, but not the validation samples."""
    hashes: dict[str, set[str]] = {key: set() for key in space.distributions}
    for key, value, changed in space.variants(config):
        try:
            changed_data = build_data(changed)
            if changed_data.fingerprints["val"] != data.fingerprints["val"]:
                raise UserError(f"{key}: {value}: changes the val split, on which trials compare")
            hashes[key].add(_hash_training(changed, changed_data))
        except UserError as error:
            raise UserError(f"search.{error}") from None
    for key, distribution in space.distributions.items():
        if len(hashes[key]) == 1:
            expected = "expected a key with an effect, and values that differ"
            fault = f"{distribution}: has no effect on the training"
            raise UserError(f"search.{key}: {fault}: {expected}")


def _hash_training(config: Config, data: DataModule) -> str:
    """Hashes the first steps of a training, and the settings that determine the others."""
    model = make_model(config, data)
    optimizer = model.recipe.optimizer(model.parameter_groups())
    loader = data.train_dataloader()
    scheduler = model.recipe.scheduler(optimizer, NUM_STEPS)
    digest = hashlib.sha256(repr((config.trainer, len(loader), loader.num_workers)).encode())
    # Read without worker processes: their number doesn't change the batches.
    batch = data.train[next(iter(loader.sampler))]
    model.train()
    model.on_train_epoch_start()
    for step in range(NUM_STEPS):
        if step < 2:  # the second step shows momentum and weight decay
            optimizer.zero_grad()
            model.training_step(batch, step).backward()
            optimizer.step()
        scheduler.step()
        digest.update(repr([group["lr"] for group in optimizer.param_groups]).encode())
    for tensor in (batch[0], *model.state_dict().values()):
        digest.update(tensor.contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()


def _open_parent(study: Study, data: DataModule) -> Run:
    """The parent run of a study that searches the same, created on first use."""
    config, space = study.plan.config, study.plan.space
    searched = {f"search.{key}": text for key, text in space.describe().items()}
    fixed = {k: v for k, v in config.flatten().items() if k not in space.distributions}
    current = searched | {k: str(v) for k, v in fixed.items() if k not in LOCAL_KEYS}
    current["the data's fingerprint"] = data.fingerprint
    attributes = study.optuna.user_attrs
    stored = json.loads(attributes.get("search", json.dumps(current)))
    for key in dict.fromkeys([*current, *stored]):
        new, old = current.get(key, "none"), stored.get(key, "none")
        if new != old:
            expected = f"expected {old}, as when the study began, or STUDY= with a new name"
            raise UserError(f"sweep.study: {study.name}: {key}: {new}: {expected}")
    if "parent" in attributes:
        return find_parent(attributes["parent"])
    study.optuna.set_user_attr("search", json.dumps(stored))
    names = {"mlflow.runName": study.name, "model": config.model_name, "data": config.data_name}
    tags = {"sweep.study": study.name, "sweep.fingerprint": data.fingerprint}
    parent = Run.create(names | tags)
    parent.log_params(searched | fixed)
    parent.log_text(json.dumps(space.describe(), indent=2), "space.json")
    study.optuna.set_user_attr("parent", parent.id)
    return parent
