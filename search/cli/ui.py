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
    parser.add_argument("--port", type=int, default=5000, help="port to listen on, 0 for any free one (default: %(default)s)")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from paretolens.mlflow.store import find_experiment, open_client
    from paretolens.mlflow.ui import free_port, runs_link, serve
    from paretolens.search.study import load_study

    workspace = workspace_of(options)
    uri = options.tracking_uri or environment.default_tracking_uri() or workspace.tracking_uri
    study = load_study(workspace, options.study) if not options.tracking_uri and (options.study or workspace.studies()) else None
    uri = study.uri if study else uri
    experiment = find_experiment(open_client(study.uri), study.uri, study.config.tracking.experiment) if study else ""

    def ready(address: str) -> None:
        print(f"MLflow UI on {address} (Ctrl-C ends it)", flush=True)
        if study and experiment:
            print(f"study {study.name}: {runs_link(address, experiment, study=study.name)}", flush=True)

    serve(uri, host=options.host, port=options.port or free_port(options.host), ready=ready)
    return 0
