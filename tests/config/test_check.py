"""Configs: composition, checks and one-line errors."""

import os
from pathlib import Path

import pytest
import torch
import yaml
from conftest import command, configure

from project.cli.commands import COMMANDS
from project.cli.main import call, main
from project.config.build import build_data, build_model
from project.config.check import Config, check
from project.config.compose import CONF, compose
from project.core.errors import UserError

BAD = {
    "modle=cnn": "modle: unknown key: did you mean 'model'?",
    "model=cn": "model: cn: did you mean 'cnn'?",
    "data=digit": "data: digit: did you mean 'digits'?",
    "optimizer=adamx": "optimizer: adamx: did you mean 'adam'?",
    "model.dropot=0.1": "model.dropot: unknown key: did you mean 'dropout'?",
    "trainer.max_epoch=3": "trainer.max_epoch: unknown key: did you mean 'max_epochs'?",
    "data.splits.trian=0.6": "data.splits.trian: unknown key: did you mean 'train'?",
    "augment.affine.rotat=3": "augment.affine.rotat: unknown key: did you mean 'rotate'?",
    "model.dropout=1.0": "model.dropout: 1.0: expected less than 1",
    "model.dropout=-0.1": "model.dropout: -0.1: expected greater than or equal to 0",
    "model.dropout=abc": "model.dropout: 'abc': expected a valid number",
    "model.width=8.5": "model.width: 8.5: expected a valid integer",
    "optimizer.lr=0": "optimizer.lr: 0: expected greater than 0",
    "optimizer.lr=fast": "optimizer.lr: 'fast': expected a valid number",
    "optimizer.weight_decay=-1": "optimizer.weight_decay: -1: expected greater than or equal to 0",
    "trainer.max_epochs=0": "trainer.max_epochs: 0: expected greater than or equal to 1",
    "trainer.precision=7": "trainer.precision: 7: expected 'auto', '32-true'",
    "trainer.devices=none": "trainer.devices: 'none': expected 'auto'",
    "data.batch_size=0": "data.batch_size: 0: expected greater than or equal to 1",
    "data.num_workers=-1": "data.num_workers: -1: expected greater than or equal to 0",
    "data.splits.train=0.9": "data.splits: {'train': 0.9}: expected train, val and test to sum",
    "data.splits.val=0": "data.splits.val: 0: expected greater than 0",
    "scheduler.warmup=1": "scheduler.warmup: 1: expected less than 1",
    "penalty.l1=-1": "penalty.l1: -1: expected greater than or equal to 0",
    "loss.label_smoothing=1": "loss.label_smoothing: 1: expected less than 1",
    "seed=-1": "seed: -1: expected greater than or equal to 0",
    "cnn": "cnn: expected key=value",
    "model=[cnn,mlp]": "model: ['cnn', 'mlp']: ",
    "model=cnn,mlp": "model: ",
    "hydra.run.dir=x": "hydra.run.dir: unknown key",
    "penalty._target_=os.system": "penalty._target_: os.system: expected a name that starts",
    "optimizer.betas=[2,3]": "optimizer.betas.0: 2: expected less than 1",
    "optimizer.betas=fast": "optimizer.betas: 'fast': expected a valid list",
    "optimizer.fused=maybe": "optimizer.fused: 'maybe': expected a valid boolean",
    "augment.affine.rotate=[nan,1]": "augment.affine.rotate: [nan, 1]: expected a finite number",
    "=3": "=3: expected key=value",
    "model._target_=os.system": "model._target_: os.system: expected a name that starts with",
    "model._target_=torch.load": "model._target_: torch.load: expected a name that starts with",
    "model._target_=torch.nn.Nothing": "model._target_: torch.nn.Nothing: is not a valid target",
    "model._target_=torch.optim.SGD": "model._target_: torch.optim.SGD: is not a valid target",
    "data._target_=project.config.check.check": (
        "data._target_: project.config.check.check: is not a valid"
    ),
    "model._target_=project.models.cnn.CMM": "model._target_: project.models.cnn.CMM: there is no",
    "optimizer._target_=torch.optim.Adamm": (
        "optimizer._target_: torch.optim.Adamm: is not a valid target for optimizer: did you mean "
        "'torch.optim.Adam"
    ),
    "optimizer._target_=torch.optim.swa_utils.math": "optimizer._target_: torch.optim.swa",
}


@pytest.mark.parametrize("override", BAD)
def test_a_mistake_names_the_key_the_value_and_what_was_expected(override: str) -> None:
    with pytest.raises(UserError) as caught:
        configure(override)
    assert str(caught.value).startswith(BAD[override])
    assert "\n" not in str(caught.value)


MISFITS = {
    ("data=diabetes", "model=cnn"): "model: project.models.cnn.CNN: needs images",
    (
        "data=diabetes",
        "augment=full",
    ): "augment: this is a table, not images: expected augment=none",
    (
        "data=diabetes",
        "loss.label_smoothing=0.1",
    ): "loss.label_smoothing: 0.1: expected 0 for a task without classes",
    ("model.depth=5",): "model: project.models.cnn.CNN: depth: 5: each block halves",
    (
        "model=pretrained",
        "model.name=resnet19",
    ): "model: project.models.pretrained.Pretrained: name",
    (
        "model=pretrained",
        "model.name=vit_b_16",
    ): "model: project.models.pretrained.Pretrained: name",
    (
        "model=pretrained",
        "model.weights=V1",
    ): "model: project.models.pretrained.Pretrained: weights",
    ("augment.affine.rotate=steep",): "augment.affine: albumentations.Affine: ",
    ("data.splits.train=0.994", "data.splits.val=0.003", "data.splits.test=0.003"): (
        "data.splits.test: class '"
    ),
    ("data=line", "data.weight=nan"): "data.weight: nan: expected a finite number",
    ("data=line", "data.noise=1e300"): "data: a sample of train is not finite",
    ("data=line", "data.num_samples=10"): "data.splits: val or test has 1 sample",
    ("optimizer=sgd", "optimizer.nesterov=true"): "optimizer: {'_target_': 'torch.optim.SGD'",
    ("augment.affine._target_=albumentations.BasicTransform", "~augment.affine.rotate"): "augment",
    (
        "+augment.x._target_=albumentations.Normalize",
    ): "augment: Normalize turns an image into float32",
    ("+augment.x._target_=albumentations.ISONoise",): "augment: ISONoise can't transform these",
    ("data.limit_train=5",): "data.limit_train: class '",
    ("data=fashion_mnist", "data.root=/nowhere"): "data.root: /nowhere/FashionMNIST/raw: expected",
}


@pytest.mark.parametrize("overrides", MISFITS)
def test_what_does_not_fit_together_is_said_before_a_run_is_opened(
    overrides: tuple[str, ...],
) -> None:
    def build() -> None:
        config = configure(*overrides)
        build_model(config, build_data(config).spec)

    with pytest.raises(UserError) as caught:
        build()
    assert str(caught.value).startswith(MISFITS[overrides])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model.dropout=2",), "error: model.dropout: 2: expected less than 1\n"),
        (("trainer.accelerator=gpu",), "error: trainer.accelerator: gpu: there is no GPU"),
        (
            ("trainer.devices=999", "trainer.accelerator=cpu"),
            "error: trainer.devices: 999: expected",
        ),
        (("data=diabetes", "model=cnn"), "error: model: project.models.cnn.CNN: needs images"),
        (("resume=nothing",), "error: resume: nothing: there is no such run in sqlite:///"),
    ],
)
def test_the_command_exits_with_2_and_writes_no_run(
    arguments: tuple[str, ...], message: str, own_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "gpu" in message and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["train", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith(message)
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert not list(own_store.glob("checkpoints/*"))
    assert not list(own_store.glob("artifacts/*"))


@pytest.mark.parametrize("uri", ["sqlite:////dev/null/mlflow.db", "file:/tmp/mlruns"])
def test_a_store_that_can_not_be_written_is_one_line(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=rf"^MLFLOW_TRACKING_URI: {uri}: can't be opened [^\n]*$"):
        call(COMMANDS["train"], ["trainer.max_epochs=1"])


def test_a_server_that_is_not_there_is_one_line() -> None:
    uri = "http://127.0.0.1:9"
    done = command("project", "train", env={**os.environ, "MLFLOW_TRACKING_URI": uri})
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: MLFLOW_TRACKING_URI: {uri}: can't be opened")
    assert done.stderr.count("\n") == 1


def test_help_lists_the_groups_without_importing_torch() -> None:
    done = command("project", "train", "--help")
    assert done.returncode == 0
    assert "resnet" in done.stdout
    assert "fashion_mnist" in done.stdout
    code = (
        "import sys; from project.cli.main import main; main(['train', '--help']);"
        "heavy = {'torch', 'mlflow', 'hydra', 'numpy'} & set(sys.modules); assert not heavy, heavy"
    )
    assert command("timeit", "-n1", "-r1", code).returncode == 0


def test_the_data_pick_a_model_that_fits_unless_one_is_named() -> None:
    assert compose("train", ["data=diabetes"])["model"]["_target_"].endswith("Linear")
    assert compose("train", ["data=diabetes", "model=mlp"])["model"]["_target_"].endswith("MLP")
    assert compose("train", [])["model"]["_target_"].endswith("CNN")


def test_keys_that_no_yaml_mentions_can_be_set_and_are_logged() -> None:
    config = configure("model.activation=gelu", "data.splits.seed=5")
    flat = config.flatten()
    assert flat["model.activation"] == "gelu"
    assert flat["data.splits.seed"] == 5
    assert flat["model.norm"] == "batch"  # a default of the constructor
    assert check(config.model_dump()) == config


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_experiment_composes_and_its_header_says_what_to_expect(path: Path) -> None:
    assert isinstance(configure(f"experiment={path.stem}"), Config)
    header = path.read_text().split("\n\n")[0]
    for word in ("make train", "val/", "seconds", "measured on"):
        assert word in header


def test_a_run_s_config_keeps_the_order_of_transforms(tmp_path: Path) -> None:
    config = configure("augment=full", "+augment.a_blur._target_=albumentations.GaussianBlur")
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(), sort_keys=False))
    again = configure(f"experiment={file}")
    assert list(again.augment) == list(config.augment)
    assert list(config.augment) != sorted(config.augment)
    assert again == config
