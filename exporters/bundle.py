"""A folder that can be handed over: the model, how to feed it, what it scored, and a script that runs it without torch.

    model.onnx        the exported student
    manifest.json     inputs, preprocessing with every constant, labels, objectives and intervals, parity, versions, checksums
    predict.py        judges a clip (needs onnxruntime, numpy and av) or a picture (onnxruntime, numpy and pillow)
    clip_reader.py    reads it; picture_reader.py for pictures, over which heatmap.py draws what patches say
    bundle_model.py   opens the model; session_options.py says how ONNX Runtime runs it
    framing.py, face_finder.py, frame_choice.py, face_model.onnx
                      choose frames and cut out faces, where the model was trained on such
    requirements.txt  their versions
    sample.npz        a few inputs and the outputs they gave, for `paretolens verify`
    README.md, MODEL_CARD.md, and what else was given (pictures)
    SHA256SUMS        checksums of all other files, as `sha256sum --check` reads them

`verify_bundle` refuses a changed byte, a missing or unknown file, and a path that leaves the folder.
"""

import importlib.metadata
import json
import math
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from paretolens.data import face_finder, frame_choice, picture_reader
from paretolens.data.preprocessing import Preprocessing
from paretolens.data.reading import Crop
from paretolens.errors import ConfigurationError, IntegrityError, StoreError
from paretolens.exporters.files import sha256_of
from paretolens.exporters.framing import FACE_MODEL
from paretolens.exporters.manifest import FORMAT, MANIFEST, MODEL, SUMS, make_manifest, read_manifest
from paretolens.exporters.onnx import OnnxArtefact
from paretolens.exporters.parity import Parity
from paretolens.exporters.sample import SAMPLE, record_sample
from paretolens.models.receptive import Field
from paretolens.models.signature import Signature

__all__ = ["FORMAT", "LABELS", "BundleContent", "Objective", "check_files", "verify_bundle", "write_bundle"]

LABELS = ("real", "fake")
"""What the verdicts of a model with one logit are called."""
SCRIPT = "predict.py"
_HERE = Path(__file__).parent
_PARTS = {name: _HERE / name for name in ("bundle_model.py", "session_options.py")}
_CLIP_SCRIPTS = {SCRIPT: _HERE / "predict_template.py", "clip_reader.py": _HERE / "clip_reader.py", **_PARTS}
_PICTURE_SCRIPTS = {
    SCRIPT: _HERE / "predict_pictures_template.py", "picture_reader.py": Path(picture_reader.__file__),
    "heatmap.py": _HERE / "heatmap.py", **_PARTS,
}  # fmt: skip
_FRAMING = {
    "framing.py": _HERE / "framing.py", "face_finder.py": Path(face_finder.__file__),
    "frame_choice.py": Path(frame_choice.__file__),
}  # fmt: skip
_IMPORT = re.compile(r"^( *)from paretolens\.\w+\.(\w+) import", re.MULTILINE)
"""How a script names another one here; in a bundle they lie side by side."""
_TEXTS = ("requirements.txt", "README.md", "MODEL_CARD.md")
WRITTEN = (MODEL, MANIFEST, SUMS, SAMPLE, *_CLIP_SCRIPTS, *_PICTURE_SCRIPTS, *_FRAMING, *_TEXTS)
_CLIP_RUNTIME, _PICTURE_RUNTIME = ("onnxruntime", "numpy", "av"), ("onnxruntime", "numpy", "pillow")
_SUM_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One score of the exported artefact."""

    value: float
    """Its value."""
    low: float | None = None
    """Lower end of its interval, if it has one."""
    high: float | None = None
    """Upper end of its interval, if it has one."""
    unit: str = ""
    """Unit, for instance `ms`; empty for shares."""
    direction: str = "higher"
    """`higher` or `lower`: which is better."""


@dataclass(frozen=True, kw_only=True)
class BundleContent:
    """What a bundle is made of."""

    name: str
    """Short name, for instance `study-knee`."""
    summary: str
    """One or two sentences: what the model does and where it comes from."""
    artefact: OnnxArtefact
    """The exported model."""
    signature: Signature
    """Its inputs and outputs."""
    preprocessing: Preprocessing
    """How a clip or a picture becomes its inputs."""
    objectives: Mapping[str, Objective]
    """Scores by name."""
    parity: Parity
    """Agreement with the torch model."""
    patches: Field | None = None
    """What a patch of the output `patches` sees; None where the model has none."""
    sample: Mapping[str, np.ndarray]
    """A few inputs (B, ...) by name, scaled as the model wants them; kept with the outputs for `paretolens verify`."""
    labels: tuple[str, ...] = LABELS
    """Names of the classes: logit below, and above 0; where the signature has classes those, in the order of their scores."""
    limits: tuple[str, ...] = ()
    """Limits of use, one sentence each, for the model card."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Plain values on where it comes from: study, trial, genome, data, device."""
    targets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the file for each runtime gave, with its name in the bundle as `file`; the files themselves are in `extra`."""
    extra: Mapping[str, Path] = field(default_factory=dict)
    """More files by their name in the bundle, for instance pictures of explanations; `face_model.onnx` where preprocessing says
    that a model of this file finds faces."""


def write_bundle(folder: Path, content: BundleContent, *, replace: bool = False) -> Path:
    """Write a bundle; the folder appears whole or not at all.

    Args:
        folder: Where it goes.
        content: What it is made of.
        replace: Whether an older bundle at `folder` may be replaced; anything else there never is.

    Returns:
        The folder.

    Raises:
        StoreError: the folder exists, or cannot be written.
        IntegrityError: the model's file is not the one that was exported, that which finds faces is not the one of the training,
            or an extra file leaves the folder.
        ConfigurationError: a score is not finite, a detail is not plain, or an extra file has the name of one that the bundle
            writes itself.
    """
    is_bundle = (folder / MANIFEST).is_file() and (folder / SUMS).is_file()
    if folder.exists() and not (replace and is_bundle):
        way = "replace it (--replace)" if is_bundle else "remove it"
        raise StoreError(f"a bundle is written to a new folder, {folder} exists: {way} or choose another place")
    if not content.artefact.path.is_file() or sha256_of(content.artefact.path) != content.artefact.sha256:
        raise IntegrityError(f"model {content.artefact.path}: missing, or changed since it was exported; export it again")
    _check(content)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _fill(temporary, content)
            temporary.chmod(0o755)
            _swap(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"bundle {folder}: cannot be written ({reason}); free space or choose another folder") from error
    return folder


def verify_bundle(folder: Path) -> dict[str, Any]:
    """Check every file of a bundle; returns the manifest.

    Raises:
        IntegrityError: as `check_files`, or the manifest is not one.
    """
    return read_manifest(folder, check_files(folder))


def check_files(folder: Path) -> dict[str, str]:
    """Hold every file against its checksum; returns the checksums by name.

    Raises:
        IntegrityError: a file is missing, unknown or changed, or a path leaves the folder. The file is named.
    """
    if not folder.is_dir():
        raise IntegrityError(f"bundle {folder}: no such folder; check the path")
    sums = _read_sums(folder)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}
    for name in sorted(present - set(sums) - {SUMS}):
        raise IntegrityError(f"bundle {folder}: {name} is not listed in {SUMS}; remove it or write the bundle again")
    for name, digest in sums.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise IntegrityError(f"bundle {folder}: {name} leads out of the folder; write the bundle again")
        if not path.is_file():
            raise IntegrityError(f"bundle {folder}: {name} is missing; write the bundle again")
        if sha256_of(path) != digest:
            raise IntegrityError(
                f"bundle {folder}: {name} does not match its checksum, so it was changed; write the bundle again"
            )
    return sums


def _fill(folder: Path, content: BundleContent) -> None:
    from paretolens.exporters.card import model_card, readme

    shutil.copyfile(content.artefact.path, folder / MODEL)
    pictures, framed = content.preprocessing.picture is not None, content.preprocessing.reading is not None
    scripts = (_PICTURE_SCRIPTS if pictures else _CLIP_SCRIPTS) | (_FRAMING if framed else {})
    for name, source in scripts.items():
        _write(folder / name, _IMPORT.sub(r"\1from \2 import", source.read_text(encoding="utf-8")))
    runtime = dict.fromkeys((*(_PICTURE_RUNTIME if pictures else _CLIP_RUNTIME), *(("pillow",) if framed else ())))
    versions = {name: importlib.metadata.version(name) for name in (*runtime, "onnx", "torch")}
    _write(folder / "requirements.txt", "".join(f"{name}=={versions[name]}\n" for name in runtime))
    _write(folder / "README.md", readme(content))
    _write(folder / "MODEL_CARD.md", model_card(content))
    record_sample(folder, MODEL, content.sample)
    for name, source in content.extra.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    manifest = make_manifest(content, versions)
    count = len(next(iter(content.sample.values())))
    manifest["sample"] = {"file": SAMPLE, "count": count, "tolerance": content.parity.tolerance}
    manifest["targets"] = {name: dict(record) for name, record in content.targets.items()}
    manifest["files"] = {name: {"sha256": sha256_of(path), "size_bytes": path.stat().st_size} for name, path in files.items()}
    try:
        text = json.dumps(manifest, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"a manifest holds plain, finite values only, got others ({error}): leave them out") from error
    _write(folder / MANIFEST, text + "\n")
    files[MANIFEST] = folder / MANIFEST
    _write(folder / SUMS, "".join(f"{sha256_of(path)}  {name}\n" for name, path in sorted(files.items())))


def _read_sums(folder: Path) -> dict[str, str]:
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise IntegrityError(f"bundle {folder}: {SUMS} cannot be read ({error}); write the bundle again") from error
    sums: dict[str, str] = {}
    for line in lines:
        match = _SUM_LINE.fullmatch(line)
        if match is None:
            raise IntegrityError(
                f"bundle {folder}: {SUMS} has the line {line[:40]!r}, which is no checksum; write the bundle again"
            )
        _check_name(match[2])
        sums[match[2]] = match[1]
    for name in (MODEL, MANIFEST, SCRIPT):
        if name not in sums:
            raise IntegrityError(f"bundle {folder}: {SUMS} does not list {name}; write the bundle again")
    return sums


def _check(content: BundleContent) -> None:
    for name, objective in content.objectives.items():
        if not math.isfinite(objective.value):
            raise ConfigurationError(f"a score of a bundle must be finite, {name} is {objective.value}: leave it out")
    reading = content.preprocessing.reading
    if reading is not None and reading.crop is Crop.YUNET:
        path = content.extra.get(FACE_MODEL)
        if path is None or not path.is_file() or sha256_of(path) != reading.face_model:
            raise IntegrityError(
                f"{path or FACE_MODEL}: the file that found faces in training is gone or another; put it back (data.face_model)"
            )
    for name in content.extra:
        _check_name(name)
        if name in WRITTEN:
            raise ConfigurationError(f"a bundle writes {name} itself: give the extra file another name")


def _check_name(name: str) -> None:
    """A relative path with forward slashes that stays in the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or path.as_posix() != name:
        raise IntegrityError(f"a file of a bundle must be named by a path within it, got {name!r}; rename it")


def _swap(temporary: Path, folder: Path) -> None:
    """Put the finished folder in place, an older bundle out of it."""
    if not folder.exists():
        temporary.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    folder.rename(old / folder.name)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
