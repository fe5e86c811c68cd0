"""Any classification network of torchvision.models, with a new head."""

import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from project.core.errors import UserError, nearest
from project.core.types import NonNegativeInt, Probability, Spec
from project.models.base import Model
from project.models.layers import Dropout
from project.models.recipe import split_by_decay

NUM_IMAGENET_CLASSES = 1000
SILENCE = 10.0  # seconds without an answer after which a download is given up
Factor = Annotated[float, Gt(0), Le(1)]


class Pretrained(Model):
    """A network of torchvision.models by name; grey images are shown to it as RGB.

    Pretrained weights are fine-tuned in two phases: first the new head alone, then everything, the
    backbone at a lower rate, so that what it knows isn't lost to a head that knows nothing yet.
    Without them there is nothing to be lost, and everything is trained alike from the start.

    Dropout inside torchvision's networks draws anew on each of several devices; the new head's
    doesn't.

    Args:
        spec: of the data, images.
        name: of the network, as in ``torchvision.models.list_models()``.
        weights: ``none``, or a name of torchvision's such as ``DEFAULT`` or ``IMAGENET1K_V1``; they
            are downloaded once into torch hub's cache.
        freeze: train the new head only, in all epochs.
        head_epochs: epochs of the first phase.
        backbone_lr_factor: learning rate of the backbone over that of the head.
        dropout: probability that a feature before the new head is left out of a training step.

    Raises:
        UserError: the weights can't be downloaded, or their file in the cache is broken.
        ValueError: no such network or weights, or the images are too small for it.
    """

    needs = "image"

    def __init__(
        self,
        spec: Spec,
        name: str = "resnet18",
        weights: str = "none",
        freeze: bool = False,
        head_epochs: NonNegativeInt = 1,
        backbone_lr_factor: Factor = 0.1,
        dropout: Probability = 0.2,
    ) -> None:
        super().__init__(spec)
        if spec.shape[2] not in (1, 3):
            raise ValueError(f"needs images of 1 or 3 channels, these have {spec.shape[2]}")
        self.network = _load(name, weights)
        self.is_frozen = freeze
        self.network.requires_grad_(not freeze)
        self._head = set(_replace_head(self.network, spec.num_outputs, dropout).parameters())
        is_tuned = weights != "none" and not freeze
        self.head_epochs = head_epochs if is_tuned else 0
        self.backbone_lr_factor = backbone_lr_factor if is_tuned else 1.0
        self.has_phases = self.head_epochs > 0
        self._try_forward(name)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The head's before the backbone's, which has a lower rate."""
        if self.backbone_lr_factor == 1:
            return super().parameter_groups()
        backbone = [p for p in self.network.parameters() if p not in self._head]
        head = [p for p in self.network.parameters() if p in self._head]
        lower = [
            {**group, "lr_factor": self.backbone_lr_factor} for group in split_by_decay(backbone)
        ]
        return split_by_decay(head) + lower

    def on_train_epoch_start(self) -> None:
        """Begins the phase of the epoch: a function of the epoch alone, whatever was resumed."""
        super().on_train_epoch_start()
        if not self.has_phases:
            return
        self.is_frozen = self.current_epoch < self.head_epochs
        for parameter in self.network.parameters():
            parameter.requires_grad_(not self.is_frozen or parameter in self._head)
        self.train()

    def train(self, mode: bool = True) -> "Pretrained":
        """Keeps a frozen backbone in eval mode, else its batch norms would go on learning."""
        super().train(mode)
        if self.is_frozen:
            for module in self.network.modules():
                if not any(p.requires_grad for p in module.parameters()):
                    module.train(mode and isinstance(module, Dropout))
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (B, classes or 1) of raw images, (B, H, W, C)."""
        images = self.scale(inputs)
        outputs: Tensor = self.network(images.expand(-1, 3, -1, -1))
        return outputs

    def _try_forward(self, name: str) -> None:
        """Tells now, rather than in the first step, that images are of the wrong size."""
        state = torch.get_rng_state()
        self.eval()
        try:
            with torch.no_grad():
                self(torch.zeros(1, *self.spec.shape, dtype=torch.uint8))
        except (RuntimeError, AssertionError) as error:
            height, width, _ = self.spec.shape
            raise ValueError(
                f"name: {name} can't work on images of {height} x {width} ({error}): "
                "expected a larger data.image_size, or another network"
            ) from None
        finally:
            torch.set_rng_state(state)
            self.train()


def _load(name: str, weights: str) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(f"name: {name}: {nearest(name, known)}")
    arguments: dict[str, Any] = {}
    if name in ("googlenet", "inception_v3"):
        arguments["init_weights"] = True
    if weights != "none":
        choices = models.get_model_weights(name)
        names = {*choices.__members__, "DEFAULT"}
        if weights not in names:
            raise ValueError(f"weights: {weights}: {nearest(weights, {'none', *names})}")
        try:
            with _no_endless_silence():
                network: nn.Module = models.get_model(name, weights=weights)
        except OSError as error:
            raise UserError(
                f"model.weights: {weights}: {name}'s weights are not in torch hub's cache and "
                f"can't be downloaded ({error}): expected network, or model.weights=none"
            ) from None
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            file = Path(torch.hub.get_dir(), "checkpoints", Path(choices[weights].url).name)
            raise UserError(
                f"model.weights: {weights}: {name}'s weights can't be read "
                f"({shorten(str(error), 100)}): expected {file} whole, or deleted to be "
                "downloaded again"
            ) from None
    else:
        network = models.get_model(name, weights=None, **arguments)
    if getattr(network, "aux_logits", False):  # GoogLeNet and Inception: side heads for training
        network.aux_logits = False  # type: ignore[assignment]
        for side in ("aux1", "aux2", "AuxLogits"):
            if hasattr(network, side):
                setattr(network, side, None)
    return network


@contextmanager
def _no_endless_silence() -> Iterator[None]:
    """Torch hub waits for an answer for ever, or as long as the system does."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _replace_head(network: nn.Module, num_outputs: int, dropout: float) -> nn.Module:
    """Puts dropout and a new layer where the one with ImageNet's 1,000 outputs is; gives them."""
    for path, module in reversed(list(network.named_modules())):
        head: nn.Module
        if isinstance(module, nn.Linear) and module.out_features == NUM_IMAGENET_CLASSES:
            head = nn.Linear(module.in_features, num_outputs)
        elif isinstance(module, nn.Conv2d) and module.out_channels == NUM_IMAGENET_CLASSES:
            head = nn.Conv2d(module.in_channels, num_outputs, kernel_size=1)
        else:
            continue
        parent, _, attribute = path.rpartition(".")
        new = nn.Sequential(Dropout(dropout), head)
        setattr(network.get_submodule(parent), attribute, new)
        return new
    raise ValueError("name: this network has no layer of 1,000 outputs to replace")
