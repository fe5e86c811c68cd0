"""torchvision can be imported and used even if its compiled operators can't be loaded."""

import subprocess
import sys

import pytest

import project


@pytest.mark.parametrize(
    "code",
    [
        "import torchvision",
        "import lightning.pytorch, torchmetrics, mlflow.pytorch",
        "from torchvision.models import resnet18; import torch;"
        "assert resnet18()(torch.zeros(2, 3, 32, 32)).shape == (2, 1000)",
    ],
)
def test_what_imports_torchvision_works_behind_the_package(code: str) -> None:
    subprocess.run([sys.executable, "-c", f"import project; {code}"], cwd=project.ROOT, check=True)


def test_the_package_itself_does_not_import_torch() -> None:
    code = "import project, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=project.ROOT, check=True)
