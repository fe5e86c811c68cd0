"""Any classification network of torchvision.models, with a new head."""

import pickle
import socket
from pathlib import Path
from textwrap import shorten
from typing import Annotated, Any

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn
from torchvision import models

from project.core.errors import UserError, nearest
from project.core.types import NonNegativeInt, Probability, Spec
from project.models.base import Model, split_by_decay
from project.models.layers import Dropout

NUM_IMAGENET_CLASSES = 1000
TIMEOUT = 10.0  # seconds; torch hub itself would wait for a silent server without limit
Factor = Annotated[float, Gt(0), Le(1)]


class Pretrained(Model):
    """A network of torchvision.models by name; grey images are fed to it as RGB.

    Pretrained weights are fine-tuned in two phases: first the new head alone, then all layers, the
    backbone at a lower learning rate, so that large gradients of the untrained head don't destroy
    pretrained features. Without pretrained weights, all layers are trained alike from the start.

    Dropout inside torchvision's networks depends on the number of devices; the new head's doesn't.

    Args:
        name: Name of the network, as in ``torchvision.models.list_models()``.
        weights: ``none``, or torchvision's name of the weights, such as ``DEFAULT`` or
            ``IMAGENET1K_V1``; they are downloaded once into torch hub's cache.
        freeze: Whether only the new head is trained, in all epochs.
        head_epochs: Number of epochs of the first phase, >= 0.
        backbone_lr_factor: Learning rate of the backbone divided by that of the head, in (0, 1].
        dropout: Probability of dropping an input of the new head during training, in [0, 1).
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
        self._check_size(name)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The head's groups, then the backbone's, which have a lower learning rate."""
        if self.backbone_lr_factor == 1:
            return super().parameter_groups()
        parameters = list(self.network.parameters())
        head = split_by_decay(p for p in parameters if p in self._head)
        backbone = split_by_decay(p for p in parameters if p not in self._head)
        return head + [group | {"lr_factor": self.backbone_lr_factor} for group in backbone]

    def on_train_epoch_start(self) -> None:
        """Sets the phase, which depends on the epoch alone, so that a resumed run is in it too."""
        super().on_train_epoch_start()
        if self.has_phases:
            self.is_frozen = self.current_epoch < self.head_epochs
            for parameter in self.network.parameters():
                parameter.requires_grad_(not self.is_frozen or parameter in self._head)
            self.train()

    def train(self, mode: bool = True) -> "Pretrained":
        """Sets the mode; a frozen backbone stays in eval mode to keep its batch statistics."""
        super().train(mode)
        if self.is_frozen:
            for module in self.network.modules():
                if not any(p.requires_grad for p in module.parameters()):
                    module.train(mode and isinstance(module, Dropout))
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs (B, classes or 1) for raw images (B, H, W, C)."""
        outputs: Tensor = self.network(self.scale(inputs).expand(-1, 3, -1, -1))
        return outputs

    def _check_size(self, name: str) -> None:
        """Runs the network once, so that images of the wrong size are reported before training."""
        height, width, channels = self.spec.shape
        self.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                self(torch.zeros(1, height, width, channels, dtype=torch.uint8))
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f"name: {name} can't work on images of {height} x {width} ({error}): "
                "expected a larger data.image_size, or another network"
            ) from None
        self.train()


def _load(name: str, weights: str) -> nn.Module:
    names = models.list_models(module=models)
    if name not in names:
        raise ValueError(f"name: {name}: {nearest(name, names)}")
    network: nn.Module
    if weights == "none":
        # Without side heads for training; an unset init_weights makes torchvision warn.
        has_side_heads = name in ("googlenet", "inception_v3")
        options = {"aux_logits": False, "init_weights": True} if has_side_heads else {}
        network = models.get_model(name, weights=None, **options)
        return network
    choices = models.get_model_weights(name)
    names = {*choices.__members__, "DEFAULT"}
    if weights not in names:
        raise ValueError(f"weights: {weights}: {nearest(weights, {'none', *names})}")
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        network = models.get_model(name, weights=weights)
    except OSError as error:
        raise UserError(
            f"model.weights: {weights}: {name}'s weights are not in torch hub's cache and can't be "
            f"downloaded ({error}): expected a network connection, or model.weights=none"
        ) from None
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        file = Path(torch.hub.get_dir(), "checkpoints", Path(choices[weights].url).name)
        raise UserError(
            f"model.weights: {weights}: {name}'s weights can't be read ({shorten(str(error), 100)})"
            f": expected {file} to be complete; delete it to download it again"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
    if name == "inception_v3":  # the only one that keeps its side head
        network.aux_logits, network.AuxLogits = False, None  # type: ignore[assignment]
    return network


def _replace_head(network: nn.Module, num_outputs: int, dropout: float) -> nn.Module:
    """Replaces the layer with ImageNet's 1,000 outputs by dropout and a new layer; returns them."""
    for path, layer in reversed(list(network.named_modules())):
        new: nn.Module
        if isinstance(layer, nn.Linear) and layer.out_features == NUM_IMAGENET_CLASSES:
            new = nn.Linear(layer.in_features, num_outputs)
        elif isinstance(layer, nn.Conv2d) and layer.out_channels == NUM_IMAGENET_CLASSES:
            new = nn.Conv2d(layer.in_channels, num_outputs, kernel_size=1)
        else:
            continue
        head = nn.Sequential(Dropout(dropout), new)
        network.set_submodule(path, head)
        return head
    raise ValueError(f"name: this network has no layer of {NUM_IMAGENET_CLASSES:,} outputs")
