"""Transfer learning: cached weights, training of the head, then slower training of all layers."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import configure
from torch import Tensor
from torchvision import models

from project.config.build import build_data, build_model
from project.core.errors import UserError
from project.core.signals import Stopped
from project.models.pretrained import Pretrained
from project.serving.predict import predict
from project.tracking.find import find_run
from project.train import train
from project.training.devices import make_model
from project.training.results import FitResult

NAME = "mobilenet_v3_small"
SETTINGS = (
    "model=pretrained",
    f"model.name={NAME}",
    "model.weights=DEFAULT",
    "data.image_size=32",
    "data.limit_train=128",
    "trainer.precision=32-true",
    "trainer.max_epochs=3",
    "augment=none",
)
# Two epochs of each phase, and everything that has a state.
PHASES = (
    *SETTINGS,
    "model.head_epochs=2",
    "trainer.max_epochs=4",
    "trainer.ema_decay=0.9",
    "scheduler=onecycle",
    "penalty=l2",
)


@pytest.fixture(scope="module", autouse=True)
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Tensor]]:
    """A file in torch hub's cache, under the name that torchvision looks for."""
    home = tmp_path_factory.mktemp("torch")
    torch.manual_seed(5)
    network = models.get_model(NAME, weights=None)
    file = models.get_model_weights(NAME).DEFAULT.url.rpartition("/")[2]
    (home / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(network.state_dict(), home / "hub" / "checkpoints" / file)
    before = os.environ.get("TORCH_HOME")
    os.environ["TORCH_HOME"] = str(home)
    yield network.state_dict()
    if before is None:
        del os.environ["TORCH_HOME"]
    else:
        os.environ["TORCH_HOME"] = before


@pytest.fixture(autouse=True)
def own_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets each test set proxies: urllib keeps for ever those of its first call."""
    monkeypatch.setattr("urllib.request._opener", None)


@pytest.fixture(scope="module")
def result(weights: dict[str, Tensor]) -> FitResult:
    return train(configure(*PHASES))


def network_of(run_id: str, file: str) -> dict[str, Tensor]:
    path = find_run(run_id).folder / file
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}


def is_head(name: str) -> bool:
    return name.startswith("classifier.3")


def test_the_cached_weights_are_what_training_starts_from(weights: dict[str, Tensor]) -> None:
    config = configure(*SETTINGS)
    model = make_model(config, build_data(config))
    assert isinstance(model, Pretrained)
    for name, value in model.network.state_dict().items():
        if not is_head(name):
            torch.testing.assert_close(value, weights[name], rtol=0, atol=0)


def test_first_the_head_alone_then_everything(weights: dict[str, Tensor]) -> None:
    config = configure(*SETTINGS, "trainer.max_epochs=1")
    first = network_of(train(config, log_model=False).run_id, "last.ckpt")
    start = make_model(config, build_data(config)).state_dict()
    for name, value in first.items():
        if is_head(name):
            assert not torch.equal(value, start[f"network.{name}"]), name
        else:  # the statistics of batch norm too
            assert torch.equal(value, weights[name]), name
    config = configure(*SETTINGS, "trainer.max_epochs=2", "model.head_epochs=0")
    both = network_of(train(config, log_model=False).run_id, "last.ckpt")
    moved = [n for n, value in both.items() if not torch.equal(value, weights.get(n, value))]
    assert len(moved) > 100


def test_the_backbone_has_the_lower_rate(result: FitResult) -> None:
    config = configure(*SETTINGS, "optimizer.lr=0.01", "model.backbone_lr_factor=0.25")
    model = build_model(config, build_data(config).spec)
    optimizer = model.make_optimizer()
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.01, 0.0025, 0.0025]
    numbers = [sum(p.numel() for p in group["params"]) for group in optimizer.param_groups]
    assert sum(numbers) == sum(p.numel() for p in model.parameters())
    assert numbers[0] == 1024 * 10
    _, rates = find_run(result.run_id).history("train/lr")
    assert rates.max() == pytest.approx(configure(*SETTINGS).optimizer["lr"], rel=0.05)


def test_without_weights_everything_is_trained_alike() -> None:
    config = configure(*SETTINGS, "model.weights=none")
    model = build_model(config, build_data(config).spec)
    assert not model.has_phases
    assert len(model.make_optimizer().param_groups) == 2


# The watch comes before the checkpoint of its epoch: what is resumed has one epoch less.
@pytest.mark.parametrize("epochs", [2, 3, 4])
def test_a_run_stopped_in_either_phase_ends_the_same(epochs: int, result: FitResult) -> None:
    def stop(epoch: int, score: float) -> bool:
        if epoch == epochs:
            raise Stopped(15)
        return False

    config = configure(*PHASES)
    with pytest.raises(Stopped):
        train(config, should_stop=stop, tags={"stopped": str(epochs)})
    client, experiment = find_run("last").client, find_run("last").experiment_id
    (stopped,) = client.search_runs([experiment], f"tags.stopped = '{epochs}'")
    checkpoint = find_run(stopped.info.run_id).last_checkpoint
    assert torch.load(checkpoint, weights_only=True)["epoch"] + 1 == epochs - 1
    again = train(config, stopped.info.run_id, log_model=False)
    whole, resumed = (network_of(run, "last.ckpt") for run in (result.run_id, again.run_id))
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


@pytest.mark.slow
def test_two_processes_train_in_two_phases(weights: dict[str, Tensor], result: FitResult) -> None:
    devices = ("trainer.devices=2", "trainer.accelerator=cpu")
    run_id = train(configure(*PHASES, *devices), log_model=False).run_id
    # In the second phase each process has batch norms over its own half of a batch.
    for key, number in (("train/loss", 4), ("train/grad_norm", 4), ("val/loss", 2)):
        one, two = (find_run(each).history(key)[1][:number] for each in (result.run_id, run_id))
        np.testing.assert_allclose(two, one, atol=1e-5, rtol=1e-5, err_msg=key)
    trained = network_of(run_id, "last.ckpt")
    moved = [name for name, value in trained.items() if not is_head(name)
             and not torch.equal(value, weights[name])]  # fmt: skip
    assert len(moved) > 100
    assert find_run(run_id).mlflow_run.info.status == "FINISHED"


def test_a_trained_model_needs_the_cache_no_more(
    result: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from project.evaluate import evaluate

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    Image.new("L", (20, 20)).save(tmp_path / "a.png")
    assert evaluate(result.run_id).num_samples > 0
    assert predict(result.run_id, str(tmp_path / "a.png")).num_rows == 1


@pytest.mark.parametrize("kind", ["page", "part", "empty", "other"])
def test_a_broken_file_in_the_cache_is_one_line(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = next(Path(os.environ["TORCH_HOME"], "hub", "checkpoints").iterdir())
    file = tmp_path / "hub" / "checkpoints" / whole.name
    file.parent.mkdir(parents=True)
    if kind == "other":  # the weights of another network
        torch.save({"weight": torch.zeros(1)}, file)
    else:
        part = whole.read_bytes()[:100_000]
        file.write_bytes({"page": b"<html>log in</html>", "part": part, "empty": b""}[kind])
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = configure(*SETTINGS)
    message = rf"weights can't be read .*: expected {file} to be complete"
    with pytest.raises(UserError, match=message) as it:
        make_model(config, build_data(config))
    assert "\n" not in str(it.value)
    assert len(str(it.value)) < 250 + len(str(file))


def test_a_server_that_never_answers_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("project.models.pretrained.TIMEOUT", 0.2)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = configure(*SETTINGS)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(UserError, match=r"can't be downloaded \(.*timed out.*\)"):
            make_model(config, build_data(config))
    assert socket.getdefaulttimeout() is None


def test_without_network_and_cache_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_store: Path
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError) as caught:
        train(configure(*SETTINGS))
    expected = "model.weights: DEFAULT: mobilenet_v3_small's weights are not in torch hub's cache"
    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)
    assert not (own_store / "mlflow.db").exists()  # no run was opened
