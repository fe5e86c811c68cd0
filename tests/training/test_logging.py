"""Lightning's own messages stay out of the output."""

import subprocess
import sys

import project


def test_saving_a_model_does_not_bring_lightning_s_messages_back() -> None:
    # MLflow's PyTorch flavour imports a package that resets the level of Lightning's logger.
    code = (
        "import logging, project.train, mlflow.pytorch, importlib\n"
        "importlib.import_module('mlflow.pytorch').save_model\n"
        "assert logging.getLogger('pytorch_lightning').level == logging.ERROR"
    )
    subprocess.run([sys.executable, "-c", code], cwd=project.ROOT, check=True)
