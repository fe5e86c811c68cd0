"""Times the project side by side with hand-written loops and writes benchmarks/RESULTS.md.

Usage: python -m benchmarks.run [accelerator=cpu|gpu] [repeats=5] [seeds=3] [part=PART]

PART is training, search, images or startup; without it, all of them.

Variants run in turn (A B C A B C ...), each in its own process, so that a busy machine slows all
of them alike. Ratios are taken within a turn, and the median over the turns is reported.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
# Large enough for steady steps, small enough to finish within minutes.
TIMED = [
    "data=fashion_mnist",
    "data.limit_train=12800",
    "trainer.max_epochs=3",
    "trainer.devices=1",
]
SMALL = ["data=digits", "trainer.max_epochs=20", "trainer.devices=1"]
ACCURACY = ["data=fashion_mnist", "trainer.max_epochs=3", "trainer.devices=1"]
SEARCHED = ["data=digits", "trainer.max_epochs=20"]
NUM_TRIALS = 32
VARIANTS = ("by hand", "tracked", "untracked", "by hand, fp32 NCHW")


IMAGES = ("first pass by hand", "first pass", "later epochs", "predict")
SEARCHES = ("search_by_hand", "search_by_sweep", "cost_of_a_trial")


def measure(variant: str, overrides: list[str]) -> dict[str, Any]:
    """Runs one variant in this process.

    Returns:
        Training samples per second and val accuracy; for searches, the result of the function.
    """
    if variant in IMAGES:
        from benchmarks import images

        folder = Path(overrides[0])
        if variant == "later epochs":
            return images.later_epochs(folder)
        if variant == "predict":
            return images.predictions(folder)
        read = images.first_pass if variant == "first pass" else images.first_pass_by_hand
        return {"speed": read(folder)}
    if variant in SEARCHES:
        from benchmarks import search

        seed = int(overrides[-1].removeprefix("seed="))
        num_trials = NUM_TRIALS if variant != "cost_of_a_trial" else 8
        measured: dict[str, Any] = getattr(search, variant)(overrides[:-1], num_trials, seed)
        return measured
    from project.config.build import build_data
    from project.config.check import check
    from project.config.compose import compose
    from project.tracking.lineage import run_tags
    from project.tracking.run import Run
    from project.training import loop
    from project.training.devices import choose_devices, choose_precision, make_model
    from project.training.loop import fit

    config = check(compose("train", overrides))
    devices = choose_devices(config.trainer)
    data = build_data(config)
    if variant.startswith("by hand"):
        from benchmarks.loop import train_by_hand

        plain = variant.endswith("NCHW")
        precision = choose_precision(config.trainer, make_model(config, data), devices)
        use_bf16 = precision == "bf16-mixed" and not plain
        timing = train_by_hand(config, devices, use_bf16, use_channels_last=not plain)
        return {"speed": timing.samples_per_second, "accuracy": timing.accuracy}
    run = Run.create(run_tags(config, data))
    if variant == "untracked":
        loop.metric_logger = lambda run: nullcontext()  # type: ignore[assignment]
    with nullcontext() if variant == "untracked" else run.open():
        history = fit(config, data, make_model(config, data), run, devices).history
    speed = statistics.harmonic_mean(history["train/samples_per_second"][1:])
    return {"speed": speed, "accuracy": history["val/accuracy"][-1]}


def in_process(variant: str, overrides: list[str]) -> dict[str, Any]:
    """Runs one variant in a process and a store of its own."""
    with tempfile.TemporaryDirectory() as store:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db"}
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.run", "--measure", variant, *overrides],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        sys.exit(done.stderr)
    numbers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return numbers


def compare(overrides: list[str], repeats: int) -> dict[str, list[float]]:
    """Speeds of all variants, in turns."""
    speeds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    for repeat in range(repeats):
        for variant in VARIANTS:
            speeds[variant].append(in_process(variant, overrides)["speed"])
            print(f"  {repeat + 1}/{repeats} {variant}: {speeds[variant][-1]:,.0f}", flush=True)
    return speeds


def ratios(above: list[float], below: list[float]) -> str:
    """Median, least and greatest of the ratios within a turn."""
    values = [a / b for a, b in zip(above, below, strict=True)]
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def table(title: str, speeds: dict[str, list[float]]) -> list[str]:
    """Markdown of one comparison."""
    lines = [
        f"### {title}",
        "",
        "| | samples/s, median | ratio to by hand, median (range) |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {variant} | {statistics.median(values):,.0f} | {ratios(values, speeds['by hand'])} |"
        for variant, values in speeds.items()
    ]
    fast = ratios(speeds["by hand"], speeds["by hand, fp32 NCHW"])
    return [*lines, "", f"Default precision and layout against fp32 NCHW, by hand: {fast}.", ""]


def compare_accuracy(accelerator: list[str], seeds: int) -> list[str]:
    """Val accuracy of the default precision against fp32, paired by seed."""
    rows, differences = [], []
    for seed in range(1, seeds + 1):
        common = [*ACCURACY, *accelerator, f"seed={seed}"]
        auto = in_process("tracked", common)["accuracy"]
        fp32 = in_process("tracked", [*common, "trainer.precision=32-true"])["accuracy"]
        differences.append(100 * (auto - fp32))
        rows.append(f"| {seed} | {auto:.4f} | {fp32:.4f} | {differences[-1]:+.2f} |")
        print(f"  seed {seed}: {auto:.4f} against {fp32:.4f}", flush=True)
    return [
        "### Accuracy of the default precision",
        "",
        f"Val accuracy of `cnn` after the last epoch: `{' '.join(ACCURACY)}`.",
        "",
        "| seed | default | 32-true | difference, points |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        f"Mean difference: {statistics.mean(differences):+.2f} points.",
        "",
    ]


def compare_searches(accelerator: list[str], repeats: int) -> list[str]:
    """A sweep against the plain loop, in turns, and the overhead of a trial."""
    lines = [
        f"The same search of {NUM_TRIALS} trials, `{' '.join(SEARCHED)}`: seconds from the start "
        "of the first trial to the end of the last, and the best score.",
        "",
        "| seed | by hand | best | sweep | best | sweep / by hand "
        "| time to the same score / by hand |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    ratios = []
    for seed in range(1, repeats + 1):
        common = [*SEARCHED, *accelerator, f"seed={seed}"]
        plain, ours = (in_process(name, common) for name in SEARCHES[:2])
        best, our_best = (max(score for _, score in each["scores"]) for each in (plain, ours))
        reached = [at for at, score in ours["scores"] if score >= best]
        until = f"{reached[0] / plain['seconds']:.2f}" if reached else "never"
        ratios.append(ours["seconds"] / plain["seconds"])
        lines.append(
            f"| {seed} | {plain['seconds']:.0f} s | {best:.4f} | {ours['seconds']:.0f} s "
            f"| {our_best:.4f} | {ratios[-1]:.2f} | {until} |"
        )
        print(f"  {lines[-1]}", flush=True)
    cost = in_process("cost_of_a_trial", [*SEARCHED, *accelerator, "seed=1"])
    shares = {kind: seconds / cost["trial"] for kind, seconds in cost["parts"].items()}
    parts = ", ".join(f"{kind} {1000 * s:.0f} ms" for kind, s in cost["parts"].items())
    return [
        *lines,
        "",
        f"Median ratio: {statistics.median(ratios):.2f}.",
        "",
        f"Overhead of an unpruned trial of {cost['trial']:.1f} s: {parts}; in total "
        f"{100 * sum(shares.values()):.1f} %. From the last step of one trial to the first step of "
        f"the next: {statistics.median(cost['pauses']):.2f} s, including the last validation.",
        "",
    ]


def compare_images(repeats: int) -> list[str]:
    """A folder of images against the bare loop and tensors in memory; predict against forward."""
    from benchmarks.images import HEIGHT, NUM_FILES, SIZE, WIDTH, write_folder

    speeds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_folder(Path(folder) / "large")
        for repeat in range(repeats):
            for variant in IMAGES:
                measured = in_process(variant, [f"{folder}/large"])
                shutil.rmtree(Path(folder) / "large" / "small", ignore_errors=True)
                for key, speed in measured.items():
                    name = variant if key == "speed" else f"{variant}, {key}"
                    speeds.setdefault(name, []).append(speed)
                    print(f"  {repeat + 1}/{repeats} {name}: {speed:,.0f}", flush=True)
    rows = (
        ("first pass: OpenCV's bare loop, one process per core", "first pass by hand", ""),
        ("first pass: the project, including hashing and writing", "first pass",
         "first pass by hand"),
        ("later epochs of `cnn`: from memory", "later epochs, in memory", ""),
        ("later epochs of `cnn`: from the file, as for a large folder", "later epochs, in a file",
         "later epochs, in memory"),
        ("`resnet` alone, batches of 256 in memory", "predict, bare", ""),
        ("the saved model on the same batches", "predict, pixels", "predict, bare"),
        ("`make predict` on their files, including loading and decoding", "predict, folder",
         "predict, bare"),
    )  # fmt: skip
    lines = [
        f"A folder of {NUM_FILES:,} JPEGs of {WIDTH} x {HEIGHT}, resized to {SIZE} x {SIZE}.",
        "",
        "| | images/s, median | ratio to the baseline above, median (range) |",
        "| --- | --- | --- |",
    ]
    for title, name, reference in rows:
        ratio = ratios(speeds[name], speeds[reference]) if reference else ""
        lines.append(f"| {title} | {statistics.median(speeds[name]):,.0f} | {ratio} |")
    return [*lines, ""]


def hardware(is_gpu: bool) -> str:
    """The machine, as the report names it."""
    import torch

    if is_gpu:
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    names = (
        [
            line.partition(": ")[2]
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        if info.exists()
        else []
    )
    flags = "with" if torch.cpu._is_avx512_bf16_supported() else "without"
    name = names[0] if names else platform.processor()
    return f"{name}, {os.cpu_count()} cores, {flags} AVX-512 bf16"


def main() -> None:
    """Measures and writes the section of this kind of hardware."""
    parser = argparse.ArgumentParser(description=__doc__, usage=argparse.SUPPRESS)
    parser.add_argument("--measure")
    parser.add_argument("settings", nargs="*")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.settings)))
        return
    settings = dict(setting.split("=", 1) for setting in arguments.settings)
    accelerator, repeats = settings.get("accelerator", "cpu"), int(settings.get("repeats", 5))
    seeds = int(settings.get("seeds", 3))
    on = [f"trainer.accelerator={accelerator}"]
    import torch

    is_gpu = accelerator == "gpu"
    part = settings.get("part", "")

    def head(name: str) -> list[str]:
        arguments = f"repeats={repeats} seeds={seeds}" + (f" part={part}" if part else "")
        return [
            f"## {name}: {hardware(is_gpu)}",
            "",
            f"torch {torch.__version__}, Python {platform.python_version()}, "
            f"{date.today().isoformat()}; `make bench{'-gpu' if is_gpu else ''} "
            f'ARGS="{arguments}"`.',
            "",
        ]

    if part in ("", "search"):
        name = f"Search on {accelerator.upper()}"
        print(name)
        write([*head(name), *compare_searches(on, repeats)], name)
    if part in ("", "images"):
        name = f"Images on {accelerator.upper()}"
        print(name)
        write([*head(name), *compare_images(repeats)], name)
    if part in ("", "startup"):
        from benchmarks.startup import compare_startup

        name = f"Start-up on {accelerator.upper()}"
        print(name)
        write([*head(name), *compare_startup(repeats)], name)
    if part in ("search", "images", "startup"):
        return
    section = head(accelerator.upper())
    for title, overrides in (
        ("`cnn` on `fashion_mnist`, 28 x 28, batch 256, augment=light", TIMED),
        ("`cnn` on `fashion_mnist`, augment=none", [*TIMED, "augment=none"]),
        ("`cnn` on `digits`, 8 x 8, batch 64: steps of a few milliseconds", SMALL),
    ):
        print(title)
        section += table(title, compare([*overrides, *on], repeats))
    section += compare_accuracy(on, seeds)
    write(section, accelerator.upper())


def write(section: list[str], name: str) -> None:
    """Replaces the section of that name in the results."""
    text = RESULTS.read_text() if RESULTS.exists() else HEAD
    parts = text.split("\n## ")
    kept = [part for part in parts[1:] if not part.startswith(f"{name}:")]
    new = "\n".join(section).removeprefix("## ").rstrip() + "\n"
    sections = sorted([*(part.rstrip() + "\n" for part in kept), new])
    RESULTS.write_text("\n## ".join([parts[0].rstrip() + "\n", *sections]))
    print(f"wrote {RESULTS}")


HEAD = """# Speed against a hand-written loop

`by hand` is `benchmarks/loop.py`: same network, data, augmentation, optimiser, schedule, precision
and memory layout, no Trainer and no tracking. `tracked` is the project as `make train` runs it,
every step in MLflow; `untracked` is the same without a logger. `by hand, fp32 NCHW` is the loop
with PyTorch's default precision and layout. Only training is timed, from the second
epoch on.

Searches are timed against the plain loop of `benchmarks/search.py`: Optuna and Lightning, one
process, no pruning, fp32, no tracking.
"""


if __name__ == "__main__":
    main()
