"""Verdicts on every clip in a folder: what a clip is, going on after a stop, and the table.

A clip is a video, a sound, a folder of pictures, or pictures of one name that end in numbers (`a_001.png`, `a_002.png`).
Rows are kept in `OUTPUT.partial`, one JSON line each, until all are there.
"""

import hashlib
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from paretolens.data.readers.listing import VIDEOS
from paretolens.errors import ConfigurationError, DataError, StoreError
from paretolens.exporters.bundle_model import PredictError
from paretolens.exporters.clip_reader import PICTURES, natural, read_frames
from paretolens.exporters.files import write_atomic
from paretolens.exporters.predict_pictures_template import PicturePredictor, pictures_in
from paretolens.exporters.predict_template import Predictor

__all__ = ["COLUMNS", "Source", "check_table", "find_pictures", "find_sources", "judge_folder", "write_table"]

SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac")
COLUMNS = ("clip", "verdict", "probability", "logit", "seconds", "frames", "model_ms", "note", "error")
_NUMBERED = re.compile(r"(.*?)[ _.-]*\d+")

Update = Callable[[int, int, str], None]
"""(done, total, name of the clip)."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One clip, however it is stored."""

    name: str
    """Path within the folder, without what tells its frames apart."""
    files: tuple[Path, ...]
    """One video or sound, or its pictures in order."""
    sound: Path | None = None
    """Sound that belongs to the pictures."""

    @property
    def is_frames(self) -> bool:
        """Whether it consists of pictures."""
        return self.files[0].suffix.lower() in PICTURES

    @property
    def key(self) -> str:
        """Changes when a file of the clip does: names, sizes and times."""
        files = (*self.files, self.sound) if self.sound else self.files
        facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return hashlib.sha256(json.dumps([self.name, facts]).encode()).hexdigest()[:16]


def find_sources(folder: Path) -> list[Source]:
    """The clips in a folder and below it, in the order of their names. A sound named as pictures are belongs to them.

    Raises:
        DataError: there is no such folder, or no clip in it.
    """
    if not folder.is_dir():
        raise DataError(f"clips are looked for in a folder, {folder} is none: check the path")
    files = sorted((path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")), key=natural)
    sounds = {path.with_suffix(""): path for path in files if path.suffix.lower() in SOUNDS}
    groups: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        if path.suffix.lower() in PICTURES:
            groups[_group_of(path)].append(path)
    sources = []
    for group, pictures in groups.items():
        inside = [path for stem, path in sounds.items() if stem.parent == group]
        sound = sounds.get(group) or (inside[0] if len(inside) == 1 else None)
        sources.append(Source(name=group.relative_to(folder).as_posix(), files=tuple(pictures), sound=sound))
    taken = {source.sound for source in sources}
    alone = [path for path in files if path.suffix.lower() in (*VIDEOS, *SOUNDS) and path not in taken]
    sources += [Source(name=path.relative_to(folder).as_posix(), files=(path,)) for path in alone]
    if not sources:
        raise DataError(
            f"folder {folder}: holds no video, sound or picture; allowed are {', '.join((*sorted(VIDEOS), *SOUNDS, *PICTURES))}"
        )
    return sorted(sources, key=lambda source: natural(Path(source.name.replace("/", "\x00"))))


def find_pictures(folder: Path) -> list[Source]:
    """The pictures in a folder and below it, each for itself, in the order of their names; raises as `find_sources`."""
    if not folder.is_dir():
        raise DataError(f"pictures are looked for in a folder, {folder} is none: check the path")
    try:
        return [Source(name=path.relative_to(folder).as_posix(), files=(path,)) for path in pictures_in(folder)]
    except PredictError as error:
        raise DataError(str(error)) from error


def judge_folder(
    predictor: Predictor | PicturePredictor,
    folder: Path,
    output: Path,
    *,
    resume: bool = False,
    fps: float | None = None,
    update: Update,
) -> pd.DataFrame:
    """Judge every clip of a folder and write the table.

    Args:
        predictor: The bundle's model.
        folder: Where the clips are.
        output: `.csv` or `.parquet`.
        resume: Go on from `OUTPUT.partial`; rows of another model or of files that changed are made again.
        fps: Rate of single pictures; by default that at which the model sees.
        update: Told of each clip.

    Returns:
        One row per clip, with COLUMNS, and with a model of classes the probability of each as `p(NAME)`; a clip that cannot be
        read has `error` and no verdict.

    Raises:
        ConfigurationError: another kind of table, or it exists and `resume` is not given.
        DataError: no clip was found.
        StoreError: the table cannot be written.
    """
    check_table(output, resume=resume)
    sources = find_pictures(folder) if isinstance(predictor, PicturePredictor) else find_sources(folder)
    partial = output.with_name(output.name + ".partial")
    model = predictor.manifest["files"][predictor.manifest["model"]["file"]]["sha256"]
    known = _kept(partial, model, fps) if resume else {}
    rows = {source.name: known[source.key] for source in sources if source.key in known}
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _judge_all(predictor, sources, rows, partial, of={"model": model, "fps": fps}, update=update)
        shares = [_share(name) for name in predictor.manifest["labels"]] if "rule" in predictor.manifest["decision"] else []
        table = pd.DataFrame([rows[source.name] for source in sources], columns=[*COLUMNS, *shares])
        write_table(table, output)
        partial.unlink()
    except OSError as error:
        raise StoreError(f"table {output}: cannot be written ({error.strerror}); free space or choose another place") from error
    return table


def _judge_all(
    predictor: Predictor | PicturePredictor, sources: Sequence[Source], rows: dict[str, dict[str, Any]], partial: Path,
    *, of: Mapping[str, Any], update: Update,
) -> None:  # fmt: skip
    """Complete the rows, by name of their clip; each is kept in `partial` as soon as it is made, with what it was made `of`."""

    def line(source: Source) -> str:
        return json.dumps({"key": source.key, **of, "row": rows[source.name]}) + "\n"

    write_atomic(partial, "".join(line(source) for source in sources if source.name in rows).encode())
    with partial.open("a", encoding="utf-8") as stream:
        for number, source in enumerate(sources):
            if source.name not in rows:
                rows[source.name] = _judge(predictor, source, of["fps"])
                stream.write(line(source))
                stream.flush()
            update(number + 1, len(sources), source.name)


def check_table(output: Path, *, resume: bool) -> None:
    """See that a table can go there before anything is judged.

    Raises:
        ConfigurationError: another kind of file, or it exists and is not to be gone on with.
    """
    if output.suffix not in (".csv", ".parquet"):
        raise ConfigurationError(f"table {output}: must end in .csv or .parquet")
    partial = output.with_name(output.name + ".partial")
    if not resume and (output.exists() or partial.exists()):
        way = "go on with --resume, or remove it" if partial.exists() else "remove it or choose another name"
        raise ConfigurationError(f"table {partial if partial.exists() else output}: exists; {way}")


def _judge(predictor: Predictor | PicturePredictor, source: Source, fps: float | None) -> dict[str, Any]:
    """A row; `error` says why a clip has no verdict."""
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"clip": source.name, "note": "", "error": ""}
    try:
        if isinstance(predictor, PicturePredictor):
            found = predictor.judge(predictor.read(source.files[0]))
            shares = {_share(name): share for name, share in found.pop("probabilities", {}).items()}
            return row | found | shares | {"frames": 1}
        arrays, seconds, note = _read(predictor, source, fps)
    except PredictError as error:
        return row | {"error": str(error)}
    verdict, frames = predictor.judge(arrays), int((~arrays["video_mask"]).sum())
    return row | verdict | {"seconds": seconds, "frames": frames, "note": predictor.caution(arrays, note)}


def _share(name: str) -> str:
    """Column of a class's probability."""
    return f"p({name})"


def _read(predictor: Predictor, source: Source, fps: float | None) -> Any:
    if not source.is_frames:
        return predictor.read(source.files[0])
    folder = source.files[0].parent
    return read_frames(
        list(source.files), source.sound, predictor.clip, start=0.0, fps=fps, name=folder, framing=predictor.framing
    )


def _kept(partial: Path, model: str, fps: float | None) -> dict[str, dict[str, Any]]:
    """Rows of an earlier run by the key of their clip; a line that was cut off ends them."""
    return {line["key"]: line["row"] for line in _lines(partial) if line["model"] == model and line["fps"] == fps}


def _lines(partial: Path) -> Iterator[dict[str, Any]]:
    if not partial.exists():
        return
    for text in partial.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(text)
        except ValueError:
            return


def _group_of(path: Path) -> Path:
    """What the frames of one clip share: their name without its number, or their folder if that says nothing."""
    match = _NUMBERED.fullmatch(path.stem)
    if match is None:
        return path.with_suffix("")
    return path.parent if match[1].lower() in ("", "frame", "img", "image", "f") else path.parent / match[1]


def write_table(table: pd.DataFrame, output: Path) -> None:
    """Write a table whole or not at all; the folder must be there.

    Args:
        table: plain columns.
        output: `.csv` or `.parquet`.
    """
    stream = io.BytesIO()
    table.to_csv(stream, index=False) if output.suffix == ".csv" else table.to_parquet(stream, index=False)
    write_atomic(output, stream.getvalue())
