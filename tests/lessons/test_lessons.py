"""Computations of the lessons against independent references."""

import numpy as np
import pytest
import torch
from conftest import configure
from sklearn.linear_model import LinearRegression

from lessons.cnn_anatomy import analysis as cnn_anatomy
from lessons.descent import solve
from lessons.gradient_descent import analysis as gradient_descent
from lessons.supervised_and_unsupervised import analysis as supervised_and_unsupervised
from project.config.build import build_data
from project.core.types import Spec
from project.models.cnn import CNN
from project.models.linear import Linear
from project.training.devices import make_model

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("data", ["line", "diabetes"])
def test_the_closed_form_is_that_of_scikit_learn_and_bounds_the_learning_rate(data: str) -> None:
    config = configure(f"data={data}", "model=linear")
    module = build_data(config)
    model = make_model(config, module)
    assert isinstance(model, Linear)
    squares = solve(model, module)
    reference = LinearRegression().fit(squares.design[:, :-1], squares.targets)
    assert squares.solution[:-1] == pytest.approx(reference.coef_, abs=1e-6)
    assert squares.solution[-1] == pytest.approx(reference.intercept_, abs=1e-6)
    for share, is_smaller in ((0.98, True), (1.02, False)):
        at = squares.solution + 1.0
        start = squares.loss(at)
        for _ in range(400):
            at = at - share * squares.largest_lr * squares.hessian @ (at - squares.solution)
        assert (squares.loss(at) < start) == is_smaller


def test_the_start_decides_which_minimum_is_found() -> None:
    ends = {round(gradient_descent.descend(start)[0][-1], 3) for start in gradient_descent.STARTS}
    roots = np.roots([1, 0, -2, 0.25]).real  # where the derivative is 0
    assert ends == {round(float(roots.min()), 3), round(float(roots.max()), 3)}


def cnn(depth: int, side: int = 64) -> CNN:
    torch.manual_seed(0)
    spec = Spec("classification", (side, side, 1), tuple("abc"), (0.0,), (1.0,))
    return CNN(spec, width=4, depth=depth).eval()


@pytest.mark.parametrize(("depth", "side"), [(1, 4), (2, 10), (3, 22)])
def test_the_receptive_field_is_what_arithmetic_says(depth: int, side: int) -> None:
    field = cnn_anatomy.receptive_field(cnn(depth), (64, 64, 1))
    assert field.sum() == side**2
    assert field.any(0).sum() == field.any(1).sum() == side


def test_grad_cam_is_what_its_paper_says() -> None:
    model = cnn(1, 16)
    images = np.zeros((2, 16, 16, 1), np.uint8)
    images[0, 2:6, 2:6] = 255
    images[1, 10:14, 10:14] = 255
    maps, predicted = cnn_anatomy.grad_cam(model, torch.from_numpy(images))
    assert maps.shape == (2, 16, 16)
    assert (maps >= 0).all()
    with torch.inference_mode():
        assert (predicted == model(torch.from_numpy(images)).argmax(1).numpy()).all()
    # By the definition: maps of the last convolution, weighted by the mean gradient of the score.
    inner = model.features[:-1](model.scale(torch.from_numpy(images[:1]))).detach()
    inner.requires_grad_()
    model.head(model.features[-1](inner))[0, predicted[0]].backward()
    assert inner.grad is not None
    expected = (inner.grad.mean((2, 3))[0, :, None, None] * inner[0]).sum(0).relu()
    grown = torch.nn.functional.interpolate(expected[None, None], (16, 16), mode="bilinear")
    assert maps[0] == pytest.approx(grown[0, 0].detach().numpy(), abs=1e-5)


def test_labels_are_bought_in_equal_shares() -> None:
    targets = RNG.integers(0, 10, 1257)
    for count in supervised_and_unsupervised.NUM_LABELS:
        chosen = supervised_and_unsupervised.choose(targets, count, 1)
        assert len(set(chosen.tolist())) == count
        assert len(np.unique(targets[chosen])) == 10
    assert len(supervised_and_unsupervised.choose(targets, 5000, 1)) == 1257


def test_a_graph_in_a_session_is_the_same_function() -> None:
    pytest.importorskip("onnxruntime")
    from types import SimpleNamespace

    from lessons.graph_and_session import analysis as graph_and_session

    config = configure("model=cnn", "model.width=4")
    data = build_data(config)
    model = make_model(config, data).eval()
    graphs = graph_and_session.export(SimpleNamespace(model=model, data=data))
    for count in (1, 3, 64):
        images = data.val.inputs[:count]
        session, eager = graphs.run_session(images), graphs.run_eager(images)
        assert session.shape == (count, 10)
        assert session == pytest.approx(eager, abs=1e-4)
    assert graphs.run_alone(images) == pytest.approx(eager, abs=1e-4)
    kinds = [name for name, _ in graph_and_session._nodes(graphs.model)]
    assert kinds.count("Conv") == 2
    assert kinds[-1] == "Softmax"
