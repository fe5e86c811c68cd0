"""Writes ``library.json``: constructor arguments of the library classes that a config may name.

With that file a config is checked without importing torch or albumentations. Run
``python -m project.config.library`` after a change of the pinned versions; a test compares the two.
"""

import inspect
import json

import albumentations
from torch import optim

from project.config.check import LIBRARY_FILE


def describe_libraries() -> dict[str, dict[str, bool]]:
    """All optimisers and transforms: by class and argument, whether the argument is required."""
    described = {}
    for module, kind in ((optim, optim.Optimizer), (albumentations, albumentations.BasicTransform)):
        for name, each in sorted(vars(module).items()):
            if inspect.isclass(each) and issubclass(each, kind):
                described[f"{module.__name__}.{name}"] = {
                    key: parameter.default is parameter.empty
                    for key, parameter in inspect.signature(each).parameters.items()
                    if key not in ("params", "kwargs", "args")
                }
    return described


if __name__ == "__main__":
    LIBRARY_FILE.write_text(json.dumps(describe_libraries(), indent=1) + "\n", encoding="utf-8")
