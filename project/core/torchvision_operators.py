"""Lets torchvision import beside a torch that its compiled operators don't fit.

``import torchvision`` registers fake kernels for ``nms`` and ``qnms``, and raises where those
operators don't exist, as on a torch without CUDA (https://github.com/pytorch/vision/issues/9085).
"""

import sys
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

_libraries: list[Any] = []  # an operator lives as long as the library object that declared it


class OperatorFinder:
    """An import hook, so that commands without torchvision needn't import torch for it."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """Finds torchvision, after its operators were declared; no other module."""
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.origin is not None:
            _declare_missing_operators(Path(spec.origin).parent)
        return spec


def _declare_missing_operators(torchvision: Path) -> None:
    import torch  # only a process that imports torchvision needs it

    for compiled in (*torchvision.glob("_C*.so"), *torchvision.glob("_C*.pyd")):
        with suppress(OSError, RuntimeError):
            torch.ops.load_library(str(compiled))
            return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
