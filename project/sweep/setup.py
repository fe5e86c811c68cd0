"""Opens the study of a sweep and its parent run, after everything has been checked."""

import json
from typing import Any

from project.config.build import build_data
from project.config.check import Config
from project.core.errors import UserError
from project.data.module import DataModule
from project.sweep.check import check_space
from project.sweep.plan import SweepPlan
from project.sweep.search import Search
from project.sweep.space import Space
from project.sweep.storage import default_storage, open_storage
from project.sweep.study import Study
from project.tracking.find import find_parent
from project.tracking.run import Run
from project.tracking.store import open_store
from project.train import warn_of_data
from project.training.devices import Devices, make_model

# Keys that may differ between machines that work on one study.
LOCAL_KEYS = ("data.root", "data.num_workers", "trainer.accelerator")


def open_search(plan: SweepPlan, devices: Devices) -> Search:
    """Checks the plan against data and model, then opens or creates study and parent run.

    Args:
        plan: Sweep to run.
        devices: Devices of each trial.

    Raises:
        UserError: Plan, data and devices don't fit together; nothing was written.
    """
    trainer = plan.config.trainer.model_copy(update={"devices": devices.count})
    config, space = plan.config.model_copy(update={"trainer": trainer}), plan.space
    data = build_data(config)
    data.check_devices(devices.count)
    warn_of_data(data)
    task = make_model(config, data).task
    check_space(space, config, data)
    url = plan.settings.storage or default_storage()
    storage = open_storage(url)
    open_store()
    name = plan.settings.study or f"{config.data_name}-{config.model_name}"
    study = Study(storage, url, name, plan, task.mode)
    with study.lock("setup"):
        _check_same_search(study, config, data, space)
        parent = _open_parent(study, config, space, data)
    return Search(study, parent, space, config, task.score, task.mode)


def _check_same_search(study: Study, config: Config, data: DataModule, space: Space) -> None:
    """Stores what a new study searches; compares it for an existing one.

    Raises:
        UserError: The study searches something else.
    """
    flat = {key: value for key, value in config.flatten().items() if key not in LOCAL_KEYS}
    for key in space.distributions:  # their values in the config are not used
        flat.pop(key, None)
    current: dict[str, Any] = {
        **{f"search.{key}": text for key, text in space.describe().items()},
        **{key: str(value) for key, value in flat.items()},
        "the data's fingerprint": data.fingerprint,
    }
    text = study.attributes.get("search")
    if text is None:
        study.set_attribute("search", json.dumps(current))
        return
    stored = json.loads(text)
    for key in dict.fromkeys([*current, *stored]):
        if current.get(key) != stored.get(key):
            raise UserError(
                f"sweep.study: {study.name}: {key}: {current.get(key, 'none')}: expected "
                f"{stored.get(key, 'none')}, as when the study began, or STUDY= with a new name"
            )


def _open_parent(study: Study, config: Config, space: Space, data: DataModule) -> Run:
    """The study's parent run in MLflow, created on first use."""
    parent_id = study.attributes.get("parent")
    if parent_id is not None:
        return find_parent(str(parent_id))
    tags = {
        "mlflow.runName": study.name,
        "sweep.study": study.name,
        "model": config.model_name,
        "data": config.data_name,
        "sweep.fingerprint": data.fingerprint,
    }
    parent = Run.create(tags)
    description = space.describe()
    fixed = {k: v for k, v in config.flatten().items() if k not in space.distributions}
    parent.log_params({f"search.{key}": text for key, text in description.items()} | fixed)
    parent.log_text(json.dumps(description, indent=2), "space.json")
    study.set_attribute("parent", parent.id)
    return parent
