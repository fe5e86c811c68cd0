"""The commands: where each one's function is, and how its arguments are read."""

from collections.abc import Mapping
from dataclasses import dataclass

from project.config.signatures import Parameter, signature_of


@dataclass(frozen=True)
class Command:
    """A command of ``python -m project``."""

    target: str  # dotted path of its function, imported only when its arguments are right
    example: str
    # A function that turns config overrides into the arguments of ``target`` without importing
    # anything heavy; empty if the command takes no config.
    reader: str = ""
    settings: str = ""  # class of its own config node, if it trains in worker processes

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Arguments of its own, apart from config overrides."""
        parameters = signature_of(self.reader or self.target).parameters
        return {name: each for name, each in parameters.items() if name != "overrides"}


COMMANDS = {
    "data": Command(
        "project.reports.data.describe_data",
        "data=images data.root=path/to/folder",
        "project.cli.arguments.read_config",
    ),
    "find-lr": Command(
        "project.training.lr_finder.find_lr", "model=resnet", "project.cli.arguments.read_overrides"
    ),
    "train": Command(
        "project.train.train",
        "model=cnn data=digits optimizer.lr=0.01 trainer.max_epochs=3 seed=1",
        "project.cli.arguments.read_training",
    ),
    "sweep": Command(
        "project.sweep.command.sweep",
        "model=mlp sweep.trials=8 search.optimizer.lr.high=0.03",
        "project.sweep.plan.read_plan",
        "project.sweep.plan.SweepSettings",
    ),
    "compare": Command(
        "project.compare.command.compare",
        "lesson=mlp_vs_cnn",
        "project.compare.plan.read_plan",
        "project.compare.plan.CompareSettings",
    ),
    "evaluate": Command("project.evaluate.evaluate", "run=last"),
    "predict": Command("project.serving.predict.predict", "run=last input=houses.csv"),
    "export": Command("project.serving.export.export", "run=last format=onnx"),
    "serve": Command("project.serving.server.serve", "run=models:/digits-cnn@champion"),
    "runs": Command("project.runs.list.list_runs", "limit=50"),
    "diff": Command("project.runs.diff.diff", "first=0123456789 second=last"),
    "reproduce": Command("project.runs.reproduce.reproduce", "run=last"),
    "ui": Command("project.tracking.ui.ui", "port=5000"),
    "dashboard": Command("project.sweep.dashboard.dashboard", "port=8080"),
}
