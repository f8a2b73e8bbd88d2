"""Open the MLflow UI on the workspace's store (or the one given). It listens on this machine only unless told otherwise."""

import argparse

from paretolens.search import environment
from paretolens.search.cli.common import add_study, add_workspace, workspace_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_study(parser)
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="MLflow store (default: MLFLOW_TRACKING_URI, else sqlite in the workspace)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5000, help="port to listen on (default: %(default)s)")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from paretolens.mlflow.ui import serve
    from paretolens.search.study import load_study

    workspace = workspace_of(options)
    uri = options.tracking_uri or environment.default_tracking_uri() or workspace.tracking_uri
    if not options.tracking_uri and (options.study or workspace.studies()):
        uri = load_study(workspace, options.study).uri
    address = serve(
        uri, host=options.host, port=options.port, ready=lambda where: print(f"MLflow UI on {where} (Ctrl-C ends it)")
    )
    print(address)
    return 0
