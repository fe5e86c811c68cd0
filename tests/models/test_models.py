"""The contract of all models; a new file in conf/model is tested automatically."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conftest import configure
from pydantic import ImportString, TypeAdapter
from torch import Tensor

from project.config.build import build_data, build_model
from project.config.compose import CONF
from project.core.types import Spec
from project.models.base import Model
from project.models.contract import Predictor
from project.models.tasks import Classifier, Reconstructor
from project.training.results import FitResult

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
SPECS = {
    "8x8x1": Spec("classification", (8, 8, 1), tuple("abcdefghij"), (80.0,), (90.0,)),
    "28x28x1": Spec("classification", (28, 28, 1), tuple("abcdefghij"), (80.0,), (90.0,)),
    "32x32x3": Spec("classification", (32, 32, 3), tuple("abc"), (80.0,) * 3, (90.0,) * 3),
    "33x17x3": Spec("classification", (33, 17, 3), tuple("abc"), (80.0,) * 3, (90.0,) * 3),
    "table": Spec("regression", (10,), (), (0.5,) * 10, (2.0,) * 10, 150.0, 70.0),
    "table of classes": Spec("classification", (10,), ("a", "b"), (0.5,) * 10, (2.0,) * 10),
}
TINY = {"pretrained": ["model.name=mobilenet_v3_small"]}


def make(name: str, spec: Spec, *overrides: str) -> Model:
    torch.manual_seed(0)
    return build_model(configure(f"model={name}", *TINY.get(name, []), *overrides), spec)


def batch_of(spec: Spec, size: int = 8) -> tuple[Tensor, Tensor]:
    random = np.random.default_rng(0)
    if spec.is_image:
        inputs = random.integers(0, 256, (size, *spec.shape)).astype(np.uint8)
    else:
        inputs = random.normal(size=(size, *spec.shape)).astype(np.float32)
    if spec.classes:
        targets = random.integers(0, len(spec.classes), size).astype(np.int64)
    else:
        targets = random.normal(150, 70, size).astype(np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def fits(name: str, spec: Spec) -> bool:
    model = configure(f"model={name}").model["_target_"]
    return spec.is_image or TypeAdapter(ImportString).validate_python(model).needs != "image"


CASES = [(name, kind) for name in MODELS for kind, spec in SPECS.items() if fits(name, spec)]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_output_shape_gradients_and_independence_of_the_batch(name: str, kind: str) -> None:
    spec = SPECS[kind]
    model = make(name, spec)
    inputs, targets = batch_of(spec)
    outputs = model(inputs)
    shape = spec.shape if isinstance(model.task, Reconstructor) else (spec.num_outputs,)
    assert outputs.shape == (len(inputs), *shape)
    loss = model.task.loss(outputs, inputs, targets)
    assert loss.ndim == 0
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
    model.eval()
    with torch.no_grad():
        together, alone = model(inputs), torch.cat([model(one[None]) for one in inputs])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_overfits_one_batch(name: str) -> None:
    spec = (
        SPECS["8x8x1"] if make(name, SPECS["8x8x1"]).needs == "image" else SPECS["table of classes"]
    )
    overrides = ["model.dropout=0"] if "dropout" in configure(f"model={name}").model else []
    model = make(name, spec, *overrides)
    inputs, targets = batch_of(spec, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    first = None
    for _ in range(150):
        optimizer.zero_grad()
        loss = model.task.loss(model(inputs), inputs, targets)
        first = first or loss.item()
        if loss.item() < 0.3 * first:
            break
        loss.backward()
        optimizer.step()
    assert first is not None
    assert loss.item() < 0.35 * first


ARGUMENTS = {
    "linear": [],
    "mlp": ["width=32", "depth=3", "dropout=0.5"],
    "cnn": ["width=16", "depth=1", "dropout=0.5", "norm=none", "norm=group", "activation=gelu"],
    "resnet": ["width=16", "depth=1", "dropout=0.5", "norm=none"],
    "pretrained": ["name=resnet18", "dropout=0.5", "freeze=true"],
    "autoencoder": ["width=16", "latent_size=8", "dropout=0.5"],
}


@pytest.mark.parametrize(("name", "argument"), [(n, a) for n in ARGUMENTS for a in ARGUMENTS[n]])
def test_every_argument_changes_what_is_built(name: str, argument: str) -> None:
    def describe(model: Model) -> str:
        frozen = [p.requires_grad for p in model.parameters()]
        return f"{model}{frozen}"

    spec = SPECS["28x28x1"]
    assert describe(make(name, spec)) != describe(make(name, spec, f"model.{argument}"))


@pytest.mark.parametrize("name", MODELS)
def test_two_epochs_end_to_end(name: str, train_run: Callable[..., FitResult]) -> None:
    overrides = [f"model={name}", *TINY.get(name, [])]
    if make(name, SPECS["8x8x1"]).needs != "image":
        overrides.append("data=diabetes")
    else:
        overrides += ["data.limit_train=100", "data.batch_size=50"]
    result = train_run(*overrides, "trainer.max_epochs=2", "trainer.precision=32-true")
    assert np.isfinite(result.score)
    assert result.num_epochs == 2


@pytest.mark.parametrize("name", ["resnet", "pretrained"])
@pytest.mark.parametrize("size", [32, 224])
def test_colour_images_of_both_usual_sizes(name: str, size: int) -> None:
    spec = Spec("classification", (size, size, 3), ("cat", "dog"), (120.0,) * 3, (60.0,) * 3)
    model = make(name, spec).eval()
    with torch.no_grad():
        assert model(batch_of(spec, 2)[0]).shape == (2, 2)


@pytest.mark.parametrize(
    "network", ["resnet18", "squeezenet1_1", "vgg11", "densenet121", "vit_b_32", "convnext_tiny"]
)
def test_heads_of_torchvision_s_families_are_replaced(network: str) -> None:
    spec = Spec("classification", (224, 224, 3), ("cat", "dog"), (120.0,) * 3, (60.0,) * 3)
    model = make("pretrained", spec, f"model.name={network}")
    outputs = model(batch_of(spec, 2)[0])
    assert outputs.shape == (2, 2)


@pytest.mark.slow
def test_heads_of_all_of_torchvision_s_networks_are_replaced() -> None:
    from torchvision import models

    spec = Spec("classification", (299, 299, 3), ("cat", "dog"), (120.0,) * 3, (60.0,) * 3)
    square = Spec("classification", (224, 224, 3), ("cat", "dog"), (120.0,) * 3, (60.0,) * 3)
    for network in models.list_models(module=models):
        if any(part in network for part in ("_h_14", "_l_16", "_l_32", "128gf", "7b")):
            continue  # gigabytes
        model = make("pretrained", square if "vit" in network else spec, f"model.name={network}")
        assert model.task.spec.num_outputs == 2, network


def test_a_frozen_backbone_trains_its_head_alone() -> None:
    spec = SPECS["32x32x3"]
    model = make("pretrained", spec, "model.freeze=true")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    inputs, targets = batch_of(spec)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    model.train()
    model.task.loss(model(inputs), inputs, targets).backward()
    optimizer.step()
    changed = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert len(changed) == 2
    assert {name.rpartition(".")[2] for name in changed} == {"weight", "bias"}


def test_weights_are_read_from_torch_hub_s_cache_and_a_missing_network_is_one_line(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from project.core.errors import UserError

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"^model\.weights: DEFAULT: [^\n]*can't be downloaded"):
        make("pretrained", SPECS["32x32x3"], "model.weights=DEFAULT")


def test_a_predictor_gives_probabilities_and_values_in_their_unit() -> None:
    for kind in ("28x28x1", "table"):
        spec = SPECS[kind]
        model = make("mlp", spec).eval()
        inputs, _ = batch_of(spec)
        with torch.no_grad():
            predictions = Predictor(model)(inputs)
            outputs = model(inputs)
        if isinstance(model.task, Classifier):
            torch.testing.assert_close(predictions.sum(1), torch.ones(len(inputs)))
            assert torch.equal(predictions.argmax(1), outputs.argmax(1))
        else:
            torch.testing.assert_close(predictions, outputs[:, 0] * 70 + 150)


def test_linear_regression_finds_the_closed_form() -> None:
    from sklearn.linear_model import LinearRegression

    data = build_data(configure("data=line"))
    model = make("linear", data.spec)
    inputs, targets = (torch.from_numpy(part) for part in (data.train.inputs, data.train.targets))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        model.task.loss(model(inputs), inputs, targets).backward()
        optimizer.step()
    reference = LinearRegression().fit(data.train.inputs, data.train.targets)
    model.eval()
    with torch.no_grad():
        predictions = Predictor(model)(torch.from_numpy(data.val.inputs)).numpy()
    np.testing.assert_allclose(predictions, reference.predict(data.val.inputs), atol=1e-3)
