"""Open the MLflow UI on the workspace's store (or the one given). It listens on this machine only unless told otherwise."""

import argparse
import webbrowser

from paretolens.search import environment
from paretolens.search.cli.common import add_study, add_workspace, workspace_of
from paretolens.search.cli.values import tracking_uri, whole

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add_study(parser, needed=False)
    parser.add_argument(
        "--tracking-uri", type=tracking_uri, metavar="URI",
        help="MLflow store (default: MLFLOW_TRACKING_URI, else sqlite in the workspace)",
    )  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=whole(0, 65535), default=5000, help="port to listen on, 0 for any free one (default: %(default)s)"
    )
    parser.add_argument("--open", action="store_true", help="open the study's run in the browser")
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    from paretolens.mlflow.ui import free_port, run_link, runs_link, serve

    uri, name, place = _find(options)

    def ready(address: str) -> None:
        print(f"MLflow UI on {address} (Ctrl-C ends it)", flush=True)
        link = run_link(address, *place) if place else address
        if place:
            print(f"study {name}: {link}", flush=True)
            print(f"its trials: {runs_link(address, place[0], study=name)}", flush=True)
        if options.open and not webbrowser.open(link):
            print("no browser could be started here: open the address in one yourself", flush=True)

    serve(uri, host=options.host, port=options.port or free_port(options.host), ready=ready)
    return 0


def _find(options: argparse.Namespace) -> tuple[str, str, tuple[str, str] | None]:
    """The store, the study's name, and experiment and run id of the study; None where there is no study, or it has no run."""
    from paretolens.mlflow.records import find_study
    from paretolens.search.study import RUN, load_study

    workspace = workspace_of(options)
    if options.tracking_uri:
        place = find_study(options.study, tracking_uri=options.tracking_uri) if options.study else None
        return options.tracking_uri, options.study or "", place
    if not options.study and not workspace.studies():
        return environment.default_tracking_uri() or workspace.tracking_uri, "", None
    study = load_study(workspace, options.study)
    if not (study.folder / RUN).exists():
        return study.uri, study.name, None
    return study.uri, study.name, find_study(study.run_id(), tracking_uri=study.uri, experiment=study.config.tracking.experiment)
