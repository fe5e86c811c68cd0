"""PyTorch Lightning experiments, tracked in MLflow.

In a notebook the commands are functions that take the same overrides:

    from project import compare, sweep, train
    from project.serving import files as predict

    train("model=cnn", "data=digits", "trainer.max_epochs=3")

Importing the package sets what must be set before other imports: environment defaults, and the two
operators that torchvision needs where its compiled ones can't be loaded.
"""

import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

for _name, _value in {
    "NO_ALBUMENTATIONS_UPDATE": "1",  # its import would ask PyPI for a newer version
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # By default a dead server blocks every call for about four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}.items():
    os.environ.setdefault(_name, _value)


# In a notebook without widgets tqdm draws its bars as text, which is no reason for a warning.
warnings.filterwarnings("ignore", message="IProgress not found")


class _TorchvisionOperators(MetaPathFinder):
    """Declares `torchvision::nms` and `qnms` if torchvision's compiled operators can't be loaded.

    `import torchvision` registers fake kernels for both and raises where they don't exist, as on a
    torch without CUDA (https://github.com/pytorch/vision/issues/9085). Hooked into the import, so
    that commands which never touch torchvision don't pay for importing torch.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torchvision":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin is not None:
            _declare_missing_operators(Path(spec.origin).parent)
        return spec


def make_callable(module: str, function: Callable[..., Any]) -> None:
    """Lets a module be called like a function, so that a command has one name everywhere.

    Args:
        module: its name.
        function: that a call of the module goes to.
    """
    kind = type("Command", (ModuleType,), {"__call__": staticmethod(function)})
    sys.modules[module].__class__ = kind


_libraries: list[Any] = []  # an operator lives as long as the library object that declared it


def _declare_missing_operators(torchvision: Path) -> None:
    import torch

    for compiled in (*torchvision.glob("_C*.so"), *torchvision.glob("_C*.pyd")):
        try:
            torch.ops.load_library(str(compiled))
            return
        except (OSError, RuntimeError):
            continue
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)


if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, _TorchvisionOperators())
