"""PyTorch Lightning experiments, tracked in MLflow and searched by Optuna.

Importing the package sets what must be set before other imports: defaults of environment variables,
and a hook for torchvision's operators. Notebooks use ``project.api``.
"""

import os
import sys
from pathlib import Path

from project.core.torchvision_operators import OperatorFinder

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

if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, OperatorFinder())
