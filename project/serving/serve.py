"""Serves a saved model over HTTP on this machine alone, by MLflow's scoring server.

Usage: python -m project.serving.serve run=RUN [port=5001]

  run     a run id, last, or a name of the registry such as models:/digits-cnn@champion
"""

from collections.abc import Sequence

from project.cli.command import parse_port, run_command
from project.core.errors import UserError


def main(arguments: Sequence[str]) -> None:
    """Runs the server until Ctrl-C."""
    from project.serving.predictor import load_scorer
    from project.serving.server import serve

    run, port = "", 5001
    for argument in arguments:
        key, _, value = argument.partition("=")
        if key == "run":
            run = value
        else:
            port = parse_port(argument)
    if not run:
        raise UserError("run: missing: expected run=<run id>, last or models:/<name>@champion")
    scorer = load_scorer(run)
    example = (
        '{"inputs": ["<an image file in base64>"]}'
        if scorer.contract.is_image
        else '{"dataframe_records": [{"<column>": <value>, ...}]}'
    )
    print(
        f"serving {run} (Ctrl-C ends it):\n\n"
        f"  curl http://127.0.0.1:{port}/invocations -H 'Content-Type: application/json' \\\n"
        f"    -d '{example}'\n",
        flush=True,
    )
    serve(scorer, port)


if __name__ == "__main__":
    run_command(main, __doc__)
