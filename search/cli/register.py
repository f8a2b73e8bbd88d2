"""Register members of the front in MLflow's model registry, with signature, input example, model card and aliases.

Load one with mlflow.onnx.load_model("models:/NAME@knee"), or serve it with 'mlflow models serve -m models:/NAME@knee'.
Run again, it registers what is new, moves the aliases and doubles nothing.
"""

import argparse

from paretolens.search.cli.common import add_selection, add_study, add_workspace, make_console, workspace_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_study(parser)
    add_selection(parser, default="front", several="front (all of it)", filtered=True)
    parser.add_argument("--model-name", metavar="NAME", help="registered model (default: the study's name)")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Register and say under which names."""
    from paretolens.mlflow.registry import ALIASES
    from paretolens.mlflow.store import without_password
    from paretolens.search.finish import pull_front
    from paretolens.search.register import register_members
    from paretolens.search.study import load_study

    study = load_study(workspace_of(options), options.study)
    found = pull_front(study, where=options.where)
    done = register_members(study, found, selection=options.select, name=options.model_name)
    console = make_console()
    for entry in done:
        aliases = "".join(f"  @{alias}" for alias in entry.aliases)
        state = "registered" if entry.created else "was there"
        console.print(f"{entry.name} version {entry.version}: {entry.trial} {state}{aliases}", highlight=False)
    known = [alias for alias in ALIASES for entry in done if alias in entry.aliases]
    alias = f"@{known[0]}" if known else f"/{done[0].version}"
    model = f"models:/{done[0].name}{alias}"
    console.print(f'\n  load it   mlflow.onnx.load_model("{model}")', highlight=False, soft_wrap=True)
    console.print(f"  serve it  mlflow models serve -m '{model}' --env-manager local", highlight=False, soft_wrap=True)
    console.print(f"  first     export MLFLOW_TRACKING_URI={without_password(study.uri)}", highlight=False, soft_wrap=True)
    return 0
