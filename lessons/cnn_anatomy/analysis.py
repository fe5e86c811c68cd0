"""What happens inside a convolutional network: filters, maps, receptive field, Grad-CAM."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from lessons.cnn_anatomy import figures as anatomy
from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array
from project.models.cnn import CNN

DELETED = 0.2  # share of the pixels
NUM_TESTED = 200
NUM_SHOWN = 5


def _cnn(trained: Trained) -> CNN:
    assert isinstance(trained.model, CNN)
    return trained.model


def grad_cam(model: CNN, images: Tensor) -> tuple[Array, Array]:
    """Where in each image the predicted class is seen (https://arxiv.org/abs/1610.02391).

    Args:
        model: that is looked into at its last convolution, before the pooling behind it.
        images: (N, H, W, C) raw.

    Returns:
        (N, H, W) at least 0, and (N,) the predicted classes.
    """
    *layers, pooling = model.features
    maps = nn.Sequential(*layers)(model.scale(images)).detach().requires_grad_()
    outputs = model.head(pooling(maps))
    predicted = outputs.argmax(1)
    score = outputs.gather(1, predicted[:, None]).sum()
    (gradient,) = torch.autograd.grad(score, maps)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    cam = (weights * maps.detach()).sum(1, keepdim=True).relu()
    size = images.shape[1:3]
    cam = nn.functional.interpolate(cam, size=size, mode="bilinear", align_corners=False)
    return cam[:, 0].numpy(), predicted.numpy()


def receptive_field(model: CNN, shape: tuple[int, ...]) -> Array:
    """Pixels (H, W), as bool, on which the middle of the last map can depend.

    Found by gradients through the same layers with weights of 1 and without their maxima and
    zeros, so that nothing is hidden by chance.
    """
    field = torch.ones(1, 1, *shape[:2], requires_grad=True)
    maps: Tensor = field
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            kernel = torch.ones(1, 1, *layer.kernel_size)
            maps = nn.functional.conv2d(maps, kernel, padding="same")
        elif isinstance(layer, nn.MaxPool2d):
            maps = nn.functional.avg_pool2d(maps, layer.kernel_size)
    middle = maps[0, 0, maps.shape[2] // 2, maps.shape[3] // 2]
    (gradient,) = torch.autograd.grad(middle, field)
    return np.asarray(gradient[0, 0].numpy() != 0)


def deletion_gain(model: CNN, images: Array, indices: Array) -> float:
    """How much more probability is lost without what Grad-CAM marks than without random pixels.

    Args:
        model: a classifier.
        images: (N, H, W, C) raw.
        indices: (N,) of the samples in their data set, which seed the random pixels.
    """
    cam, predicted = grad_cam(model, torch.from_numpy(images))
    count = round(DELETED * cam[0].size)
    by_chance = np.stack([np.random.default_rng(i).random(cam[0].shape) for i in indices.tolist()])

    def probability(importance: Array) -> Array:
        wiped = images.copy().reshape(len(images), -1, images.shape[-1])
        chosen = np.argsort(-importance.reshape(len(images), -1), axis=1, kind="stable")[:, :count]
        background = np.median(images, axis=(1, 2))
        wiped[np.arange(len(images))[:, None], chosen] = background[:, None].astype(np.uint8)
        with torch.inference_mode():
            outputs = model(torch.from_numpy(wiped.reshape(images.shape)))
        return np.asarray(outputs.softmax(1).numpy()[np.arange(len(images)), predicted])

    return float((probability(by_chance) - probability(cam)).mean())


def measure(trained: Trained) -> dict[str, float]:
    """Area of the receptive field, and whether Grad-CAM marks what counts."""
    model, val = _cnn(trained), trained.data.val
    shown = slice(0, NUM_TESTED)
    return {
        "receptive_field/pixels": float(receptive_field(model, trained.data.spec.shape).sum()),
        "grad_cam/deletion_gain": deletion_gain(model, val.inputs[shown], val.indices[shown]),
    }


def figures(runs: Runs) -> Iterator[Drawn]:
    """Filters, the way of one image through the blocks, receptive fields, Grad-CAM."""
    # Of each variant the run that makes the most mistakes: they are to be looked at too.
    found = {
        variant: min(of_variant, key=lambda trained: trained.metrics["best/accuracy"])
        for variant, of_variant in runs.items()
        if of_variant
    }
    deepest = max(found.values(), key=lambda trained: len(_cnn(trained).features))
    model, val = _cnn(deepest), deepest.data.val
    first = next(layer for layer in model.features if isinstance(layer, nn.Conv2d))
    yield (
        "filters",
        anatomy.filters(first.weight.detach().mean(1).numpy()),
        f"The filters of the first convolution of {deepest.variant}: red adds, blue subtracts.",
    )
    rows = {"image": val.inputs[0].mean(-1)[np.newaxis]}
    with torch.inference_mode():
        maps = model.scale(torch.from_numpy(val.inputs[:1]))
        names = {nn.Conv2d: "convolution", nn.MaxPool2d: "pooling", nn.ReLU: "activation"}
        block = 1
        for layer in model.features:
            maps = layer(maps).clone()  # an activation works in place
            for kind, name in names.items():
                if isinstance(layer, kind):
                    rows[f"{name} {block}"] = maps[0].numpy()
            block += isinstance(layer, nn.MaxPool2d)
    yield (
        "feature_maps",
        anatomy.feature_maps(rows),
        "One validation image on its way through the network: the first maps behind each step, "
        "with their size. Each map has a scale of its own, dark is low.",
    )
    fields = {v: receptive_field(_cnn(t), t.data.spec.shape) for v, t in found.items()}
    yield (
        "receptive_fields",
        anatomy.receptive_fields(fields, val.inputs[0]),
        "The pixels on which one number in the middle of the last map depends, as far as the image "
        "goes.",
    )
    cam, predicted = grad_cam(model, torch.from_numpy(val.inputs[:]))
    classes, is_right = deepest.data.spec.classes, predicted == val.targets
    for name, chosen in (("right", is_right), ("wrong", ~is_right)):
        places = np.flatnonzero(chosen)[:NUM_SHOWN]
        if not len(places):
            continue
        titles = [
            f"{classes[predicted[p]]}" + ("" if is_right[p] else f", is {classes[val.targets[p]]}")
            for p in places
        ]
        yield (
            f"grad_cam_{name}",
            anatomy.overlays(val.inputs[places], cam[places], titles),
            f"Grad-CAM on {len(places)} of the {chosen.sum()} validation images that "
            f"{deepest.variant} got {name}: where it saw the predicted class.",
        )


ANALYSIS = Analysis(
    ("receptive_field/pixels", "grad_cam/deletion_gain"),
    measure,
    figures,
    fits=lambda model: isinstance(model, CNN),
    needs="model=cnn",
)
