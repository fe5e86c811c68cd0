"""Inside a convolutional network: filters, feature maps, receptive field and Grad-CAM."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from project.compare.analysis import Analysis, Drawn, Runs, Trained
from project.core.arrays import Array
from project.figures.style import VAL, as_label, grid, image_rows, show_image
from project.models.cnn import CNN

DELETED = 0.2  # share of the pixels
NUM_TESTED = 200
NUM_EXPLAINED = 5
MAPS_SHOWN = 8
STEPS = {nn.Conv2d: "convolution", nn.MaxPool2d: "pooling", nn.ReLU: "activation"}


def _cnn(trained: Trained) -> CNN:
    assert isinstance(trained.model, CNN)
    return trained.model


def grad_cam(model: CNN, images: Tensor) -> tuple[Array, Array]:
    """Maps (N, H, W), >= 0, of the regions that support the predicted class, and that class (N,).

    From raw images (N, H, W, C) and the last convolution before pooling (arXiv:1610.02391).
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
    """Mask (H, W) of the pixels on which the centre of the last feature map can depend.

    Computed from gradients through the same layers with weights of 1 and average pooling, and
    without activations, so that no dependence is hidden by a zero or a maximum.
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
    """Probability lost by deleting the pixels that Grad-CAM marks, minus that of random pixels.

    The raw images (N, H, W, C) have indices (N,) in their data set, which seed the random pixels.
    """
    cam, predicted = grad_cam(model, torch.from_numpy(images))
    count = round(DELETED * cam[0].size)
    at_random = np.stack([np.random.default_rng(i).random(cam[0].shape) for i in indices.tolist()])

    def probability(importance: Array) -> Array:
        deleted = images.copy().reshape(len(images), -1, images.shape[-1])
        chosen = np.argsort(-importance.reshape(len(images), -1), axis=1, kind="stable")[:, :count]
        background = np.median(images, axis=(1, 2))
        deleted[np.arange(len(images))[:, None], chosen] = background[:, None].astype(np.uint8)
        with torch.inference_mode():
            outputs = model(torch.from_numpy(deleted.reshape(images.shape)))
        return np.asarray(outputs.softmax(1).numpy()[np.arange(len(images)), predicted])

    return float((probability(at_random) - probability(cam)).mean())


def measure(trained: Trained) -> dict[str, float]:
    """Area of the receptive field, and the gain of Grad-CAM over random pixels."""
    model, val = _cnn(trained), trained.data.val
    part = slice(0, NUM_TESTED)
    return {
        "receptive_field/pixels": float(receptive_field(model, trained.data.spec.shape).sum()),
        "grad_cam/deletion_gain": deletion_gain(model, val.inputs[part], val.indices[part]),
    }


def figures(runs: Runs) -> Iterator[Drawn]:
    """Filters, feature maps of one image, receptive fields, and Grad-CAM."""
    # The run with the most mistakes of each variant, because mistakes are shown too.
    chosen = {
        variant: min(of_variant, key=lambda trained: trained.metrics["best/accuracy"])
        for variant, of_variant in runs.items()
    }
    deepest = max(chosen.values(), key=lambda trained: len(_cnn(trained).features))
    model, image = _cnn(deepest), deepest.data.val.inputs[0]
    first = next(layer for layer in model.features if isinstance(layer, nn.Conv2d))
    yield (
        "filters",
        draw_filters(first.weight.detach().mean(1).numpy()),
        f"Filters of the first convolution of {deepest.variant}: red is positive, blue negative.",
    )
    yield "feature_maps", draw_feature_maps(feature_maps(model, image))
    fields = {v: receptive_field(_cnn(t), t.data.spec.shape) for v, t in chosen.items()}
    yield "receptive_fields", draw_receptive_fields(fields, image)
    yield from _grad_cam(deepest)


def feature_maps(model: CNN, image: Array) -> Mapping[str, Array]:
    """Feature maps (maps, height, width) of an image (H, W, C) after each step."""
    steps = {"image": image.mean(-1)[np.newaxis]}
    block = 1
    with torch.inference_mode():
        maps = model.scale(torch.from_numpy(image[np.newaxis]))
        for layer in model.features:
            maps = layer(maps).clone()  # an activation works in place
            if type(layer) in STEPS:
                steps[f"{STEPS[type(layer)]} {block}"] = maps[0].numpy()
            block += isinstance(layer, nn.MaxPool2d)
    return steps


def _grad_cam(trained: Trained) -> Iterator[Drawn]:
    """Grad-CAM on some correct and some wrong predictions."""
    val, classes = trained.data.val, trained.data.spec.classes
    cam, predicted = grad_cam(_cnn(trained), torch.from_numpy(val.inputs[:]))
    is_right = predicted == val.targets
    for name, chosen in (("right", is_right), ("wrong", ~is_right)):
        places = np.flatnonzero(chosen)[:NUM_EXPLAINED]
        if not len(places):
            continue
        titles = [
            classes[predicted[p]] + ("" if is_right[p] else f" (true: {classes[val.targets[p]]})")
            for p in places
        ]
        yield (
            f"grad_cam_{name}",
            draw_overlays(val.inputs[places], cam[places], titles),
            f"Grad-CAM on {len(places)} of the {chosen.sum()} validation images that "
            f"{trained.variant} got {name}: bright regions support the predicted class.",
        )


def draw_filters(kernels: Array) -> Figure:
    """Filters (N, height, width) as small images on one scale."""
    figure, cells = grid(len(kernels), 8, cell=0.9)
    reach = float(np.abs(kernels).max())
    for axes, kernel in zip(cells, kernels, strict=True):
        image = axes.imshow(kernel, cmap="RdBu_r", vmin=-reach, vmax=reach)
        axes.spines[:].set_visible(True)
    figure.colorbar(image, ax=cells, label="weight", shrink=0.8)
    return figure


def draw_feature_maps(steps: Mapping[str, Array]) -> Figure:
    """The first of the feature maps (N, height, width) of each step, each on its own scale."""
    labels, rows = [], []
    for name, maps in steps.items():
        low, high = maps.min((1, 2), keepdims=True), maps.max((1, 2), keepdims=True)
        shades = (maps - low) / np.maximum(high - low, np.finfo(np.float32).tiny)
        labels.append(f"{name}\n{len(maps)} x {maps.shape[1]} x {maps.shape[2]}")
        rows.append(shades[:MAPS_SHOWN, ..., np.newaxis])
    return image_rows(labels, rows, cell=0.95)


def draw_receptive_fields(fields: Mapping[str, Array], image: Array) -> Figure:
    """The receptive field, a mask (H, W), of each network on an image (H, W, C) uint8."""
    figure, cells = grid(len(fields), len(fields), cell=2.2)
    for axes, (name, field) in zip(cells, fields.items(), strict=True):
        show_image(axes, image)
        rows, columns = np.flatnonzero(field.any(1)), np.flatnonzero(field.any(0))
        # Along the edges of pixels, where a contour would pass through their centres.
        corner = columns[0] - 0.5, rows[0] - 0.5
        frame = Rectangle(corner, len(columns), len(rows), fill=False, color=VAL, linewidth=2.5)
        axes.add_patch(frame).set_clip_on(False)
        axes.set_title(f"{name}: {len(rows)} x {len(columns)} pixels", fontsize=9)
    return figure


def draw_overlays(images: Array, maps: Array, titles: Sequence[str]) -> Figure:
    """Images (N, H, W, C), and below each the same image under its map (H, W), >= 0."""
    short = {0: [as_label(title, 30) for title in titles]}
    figure = image_rows(["", ""], [images, images], short, cell=1.5)
    for axes, each in zip(figure.axes[len(images) :], maps, strict=True):
        axes.imshow(each, cmap="magma", alpha=0.6)
    return figure


ANALYSIS = Analysis(
    ("receptive_field/pixels", "grad_cam/deletion_gain"),
    measure,
    figures,
    supports=lambda model: isinstance(model, CNN),
    needs="model=cnn",
)
