"""The commands: where each one's function is, and how its arguments are read."""

from collections.abc import Mapping
from dataclasses import dataclass

from project.config.signatures import Parameter, Signature, signature_of

LABELS = "project.tracking.labels.read_labels"  # its arguments are the labels of a run


@dataclass(frozen=True)
class Command:
    """A command of ``python -m project``."""

    target: str  # dotted path of its function, imported only when its arguments are right
    example: str
    # A function that turns config overrides into the arguments of ``target`` without importing
    # anything heavy; empty if the command takes no config.
    reader: str = ""
    settings: str = ""  # class of its own config node, if it trains in worker processes
    is_labelled: bool = False  # whether it takes LABELS, and its function the tags made of them

    @property
    def signature(self) -> Signature:
        """Signature of the command's function."""
        return signature_of(self.target)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Arguments of its own, apart from config overrides."""
        targets = [self.reader or self.target, *([LABELS] if self.is_labelled else [])]
        parameters = [signature_of(target).parameters.items() for target in targets]
        return {name: each for items in parameters for name, each in items if name != "overrides"}


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
        is_labelled=True,
    ),
    "sweep": Command(
        "project.sweep.command.sweep",
        "model=mlp sweep.trials=8 search.optimizer.lr.high=0.03",
        "project.sweep.plan.read_plan",
        "project.sweep.plan.SweepSettings",
        is_labelled=True,
    ),
    "compare": Command(
        "project.compare.command.compare",
        "lesson=mlp_vs_cnn",
        "project.compare.plan.read_plan",
        "project.compare.plan.CompareSettings",
        is_labelled=True,
    ),
    "evaluate": Command("project.evaluate.evaluate", "run=last"),
    "predict": Command("project.serving.predict.predict", "run=last input=houses.csv"),
    "export": Command("project.serving.export.export", "run=last format=onnx"),
    "serve": Command("project.serving.server.serve", "run=models:/digits-cnn@champion"),
    "runs": Command("project.runs.list.list_runs", "data=digits sort=score since=7d tag.owner=ann"),
    "diff": Command("project.runs.diff.diff", "first=0123456789 second=last"),
    "reproduce": Command("project.runs.reproduce.reproduce", "run=last"),
    "ui": Command("project.tracking.ui.ui", "port=5000"),
    "dashboard": Command("project.sweep.dashboard.dashboard", "port=8080"),
}
