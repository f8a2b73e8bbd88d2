"""Run a bundle on clips or pictures and print the verdicts. Its checksums are verified first, and no code of the bundle is run.

A clip is a video, a sound, or a folder of frames; a bundle that judges single pictures takes pictures, folders of them, and
videos, which it judges by the mean of some of their frames. With --output, all clips, or pictures, in a folder are judged and
a table written; with --videos, too, one of the videos that face crops are of: each has a folder of its own, with pictures
FRAME_FACE.png. With --stream, a file at its own pace, a device or an address is judged again and again; pictures are dropped
rather than queued.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretolens.errors import ConfigurationError
from paretolens.search.cli.values import number, output_file, whole

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from paretolens.exporters.predict_pictures_template import PicturePredictor
    from paretolens.exporters.predict_template import Predictor

__all__ = ["add_arguments", "run"]

FRAMES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument(
        "clip", nargs="+", help="video, folder of frames, or sound; for bundles of pictures a picture, a folder or a video"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--fps", type=number(above=0),
        help="pictures a second in a folder (default: as many as the model looks at, or chooses from)",
    )  # fmt: skip
    parser.add_argument(
        "--frames", type=whole(1), metavar="N",
        help=f"frames of a video that a bundle of pictures judges (default: {FRAMES})",
    )  # fmt: skip
    parser.add_argument("--heatmap", type=Path, metavar="FOLDER", help="draw what the patches of pictures say, as PNGs there")
    parser.add_argument(
        "--boxes", type=Path, metavar="FILE",
        help="JSON {file: [[seconds, left, top, width, height], …]}, for a model that was trained on boxes of such a list",
    )  # fmt: skip
    parser.add_argument("--threads", type=whole(1), default=1, help="threads of the runtime (default: %(default)s)")
    parser.add_argument(
        "--output", type=output_file, metavar="FILE",
        help="judge all clips in a folder, or all pictures, write a .csv or .parquet; folders that are missing are made",
    )  # fmt: skip
    parser.add_argument(
        "--videos", type=output_file, metavar="FILE",
        help="beside --output, for face crops in a folder per video: write the videos' verdicts to a .csv or .parquet; the first "
        "face with a mean p(fake) above 0.55 decides, else the mean of faces 0 to 2",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on with an --output that was stopped")
    parser.add_argument("--stream", action="store_true", help="judge the newest second of a stream until it ends")


def run(options: argparse.Namespace) -> int:
    """Verify and run."""
    _check_sources(options)
    from paretolens.exporters.bundle import verify_bundle

    manifest = verify_bundle(options.bundle)
    pictures = "picture" in manifest["preprocessing"]
    _check_bundle(options, manifest, pictures=pictures)
    _check_kinds(options, manifest, pictures=pictures)
    if options.output or options.stream:
        predictor = _predictor(options, pictures=pictures)
        return _batch(predictor, options) if options.output else _stream(predictor, options)
    return _judge_each(options, pictures=pictures)


def _check_sources(options: argparse.Namespace) -> None:
    """See that the flags go together, and that a bundle is named.

    Raises:
        ConfigurationError: they do not, or it is the folder of a study.
    """
    from paretolens.exporters.manifest import MANIFEST

    if options.resume and not options.output:
        raise ConfigurationError("--resume goes on with a table: give --output too")
    if (options.output or options.stream) and (len(options.clip) != 1 or (options.output and options.stream)):
        raise ConfigurationError("--output takes one folder, --stream one source, and not both at once")
    inner = options.bundle / "bundle"
    if inner.is_dir() and not (options.bundle / MANIFEST).exists():
        raise ConfigurationError(f"bundle {options.bundle}: this is a study's folder; its bundle is {inner}")


def _check_bundle(options: argparse.Namespace, manifest: dict[str, Any], *, pictures: bool) -> None:
    """See that the bundle is one for what the flags ask.

    Raises:
        ConfigurationError: it is not.
    """
    if pictures and (options.stream or options.fps):
        raise ConfigurationError(f"bundle {options.bundle}: judges single pictures; --stream and --fps are for clips")
    if options.videos and not (pictures and options.output):
        raise ConfigurationError("--videos joins the verdicts on face crops: give a bundle of pictures, and --output too")
    if options.videos and "rule" in manifest["decision"]:
        raise ConfigurationError(
            f"--videos joins verdicts of real and fake; bundle {options.bundle} tells {', '.join(manifest['labels'])}: leave it "
            "out"
        )


def _judge_each(options: argparse.Namespace, *, pictures: bool) -> int:
    """Print a verdict on everything that is named; exit code 2 if something could not be read."""
    flags = ["--threads", str(options.threads), *(["--json"] if options.json else [])]
    flags += ["--boxes", str(options.boxes)] if options.boxes else []
    if pictures:
        _say_left_out([Path(clip) for clip in options.clip])
        flags += ["--heatmap", str(options.heatmap)] if options.heatmap else []
        runs = _by_kind(options.clip)
        predictor = _predictor(options, pictures=True) if any(videos for videos, _ in runs) else None
        return max(
            _judge_videos(named, predictor, options) if videos else _judge_pictures(named, options.bundle, flags)
            for videos, named in runs
        )
    from paretolens.exporters.predict_template import main as judge_clips

    _check_single([Path(clip) for clip in options.clip])
    flags += ["--fps", str(options.fps)] if options.fps else []
    return judge_clips([*flags, *options.clip], options.bundle, prefix="paretolens predict")


def _check_kinds(options: argparse.Namespace, manifest: dict[str, Any], *, pictures: bool) -> None:
    """See before anything is judged that --frames has videos to choose from, and --heatmap patches and pictures to draw on.

    Raises:
        ConfigurationError: it has none.
    """
    from paretolens.data.readers.listing import VIDEOS

    videos = [clip for clip in options.clip if Path(clip).suffix.lower() in VIDEOS]
    if options.frames and (not pictures or options.output or not videos):
        raise ConfigurationError("--frames is for videos that a bundle of pictures judges, each named for itself: leave it out")
    if not options.heatmap:
        return
    if not pictures or options.output:
        raise ConfigurationError("--heatmap draws over single pictures; leave it out for clips, and beside --output")
    if videos:
        raise ConfigurationError(f"--heatmap draws over single pictures, {videos[0]} is a video: leave one of them out")
    if manifest["model"].get("patches") is None:
        raise ConfigurationError("a heat map needs a model that judges patches, this one does not: leave --heatmap out")


def _say_left_out(named: list[Path]) -> None:
    """Tell of videos within folders, where a bundle of pictures looks for pictures alone."""
    import sys

    from paretolens.data.readers.listing import VIDEOS

    for folder in filter(Path.is_dir, named):
        if count := sum(path.suffix.lower() in VIDEOS for path in folder.rglob("*")):
            what = "1 video is" if count == 1 else f"{count} videos are"
            print(f"paretolens predict: {folder}: {what} left out; name each for itself to judge it", file=sys.stderr)


def _by_kind(named: list[str]) -> list[tuple[bool, list[str]]]:
    """Runs of videos, and of everything else, in the order in which they are named."""
    from itertools import groupby

    from paretolens.data.readers.listing import VIDEOS

    return [(videos, list(group)) for videos, group in groupby(named, lambda clip: Path(clip).suffix.lower() in VIDEOS)]


def _judge_pictures(named: list[str], bundle: Path, flags: list[str]) -> int:
    from paretolens.exporters.predict_pictures_template import main as judge_pictures

    return judge_pictures([*flags, *named], bundle, prefix="paretolens predict")


def _judge_videos(named: list[str], predictor: Any, options: argparse.Namespace) -> int:
    """Print the verdict on each video by its frames; exit code 2 if one could not be read."""
    import json
    import sys

    from paretolens.errors import DataError
    from paretolens.exporters.bundle_model import PredictError
    from paretolens.exporters.frames import judge_video

    code = 0
    for clip in named:
        try:
            found = judge_video(predictor, Path(clip), frames=options.frames or FRAMES)
        except (DataError, PredictError) as error:
            print(f"paretolens predict: {error}", file=sys.stderr)
            code = 2
            continue
        shares = found.get("probabilities", {"fake": found["probability"]})
        said = "  ".join(f"p({name}) {share:.3f}" for name, share in shares.items())
        note = f"  ({found['note']})" if found["note"] else ""
        line = f"{found['verdict']}  {said}  {found['frames']} frames  {found['model_ms']:.1f} ms  {clip}{note}"
        print(json.dumps(found) if options.json else line, flush=True)
    return code


def _predictor(options: argparse.Namespace, *, pictures: bool) -> Any:
    from paretolens.exporters.bundle_model import PredictError
    from paretolens.exporters.predict_pictures_template import PicturePredictor
    from paretolens.exporters.predict_template import Predictor

    try:
        return (PicturePredictor if pictures else Predictor)(options.bundle, threads=options.threads, boxes=options.boxes)
    except PredictError as error:
        raise ConfigurationError(str(error)) from error


def _check_single(clips: list[Path]) -> None:
    """Tell a folder of clips from a clip that is a folder of pictures.

    Raises:
        ConfigurationError: a folder holds no picture itself, so it is no clip.
    """
    from paretolens.exporters.clip_reader import PICTURES

    for folder in filter(Path.is_dir, clips):
        if not any(path.suffix.lower() in PICTURES for path in folder.iterdir()):
            raise ConfigurationError(
                f"{folder}: a folder without pictures in it is no clip; to judge every clip in it, say where the table goes: "
                "--output verdicts.csv"
            )


def _batch(predictor: "Predictor | PicturePredictor", options: argparse.Namespace) -> int:
    """Write the table; exit code 2 if a clip could not be read."""
    from paretolens.exporters.batch import check_table, find_pictures, judge_folder
    from paretolens.search.cli.common import make_console
    from paretolens.search.progress import ConsoleSteps
    from paretolens.search.video_table import require_video_folders

    console, output = make_console(), options.output
    if options.videos:
        check_table(options.videos, resume=options.resume)
        require_video_folders([source.name for source in find_pictures(Path(options.clip[0]))])
    if "picture" in predictor.manifest["preprocessing"]:
        _say_left_out([Path(options.clip[0])])
    with ConsoleSteps(console).step("judging") as update:
        table = judge_folder(
            predictor, Path(options.clip[0]), output, resume=options.resume, fps=options.fps, update=update
        )  # fmt: skip
    if options.videos:
        _write_videos(table, options.videos, tuple(predictor.manifest["labels"]), console)
    bad = table[table["error"] != ""]
    console.print(f"{output.absolute()}: {len(table)} judged, {_counts(table)}", highlight=False, soft_wrap=True)
    if len(bad):
        console.print(f"{len(bad)} could not be read; the first, {bad.iloc[0]['clip']}: {bad.iloc[0]['error']}", soft_wrap=True)
    return 2 if len(bad) else 0


def _write_videos(crops: "pd.DataFrame", output: Path, labels: tuple[str, str], console: "Console") -> None:
    from paretolens.exporters.batch import write_table
    from paretolens.search.video_table import video_table

    table = video_table(crops, labels=labels)
    write_table(table, output)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in table["verdict"].value_counts().items())
    console.print(f"{output.absolute()}: {len(table)} videos, {counts}", highlight=False, soft_wrap=True)
    if left_out := int(table["left_out"].sum()):
        console.print(f"{left_out} crops show faces beyond those that count (left_out)", highlight=False, soft_wrap=True)


def _counts(table: "pd.DataFrame") -> str:
    """How many clips have which verdict; those that say nothing of the clip are counted apart."""
    from paretolens.exporters.predict_template import BLIND

    blind = table["note"].str.contains(BLIND, regex=False)
    judged = table.loc[(table["error"] == "") & ~blind, "verdict"].value_counts()
    counts = ", ".join(f"{count} {verdict}" for verdict, count in judged.items())
    without = f"{blind.sum()} without a verdict of use (see their note: the model says the same of every such clip)"
    return "; ".join(filter(None, (counts, without if blind.any() else ""))) or "no verdict"


def _stream(predictor: "Predictor", options: argparse.Namespace) -> int:
    """Print a line per verdict until the stream ends."""
    import json

    from paretolens.exporters.stream import judge_stream

    for found in judge_stream(predictor, options.clip[0]):
        line = (
            f"{found['until']:8.2f} s  {found['verdict']}  p(fake) {found['probability']:.3f}  {found['behind_ms']:.0f} ms behind"
        )
        note = f"  ({found['note']})" if found["note"] else ""
        print(json.dumps(found) if options.json else f"{line}  {found['dropped']} dropped{note}", flush=True)
    return 0
