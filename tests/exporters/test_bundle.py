import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from paretolens.data.preprocessing import Preprocessing
from paretolens.errors import ConfigurationError, IntegrityError, StoreError
from paretolens.exporters.bundle import BundleContent, Objective, verify_bundle, write_bundle

FILES = {
    "MODEL_CARD.md",
    "README.md",
    "SHA256SUMS",
    "manifest.json",
    "model.onnx",
    "pictures/overlay.png",
    "predict.py",
    "bundle_model.py",
    "clip_reader.py",
    "session_options.py",
    "requirements.txt",
    "sample.npz",
}


def seal(folder: Path) -> None:
    """Write SHA256SUMS anew, as somebody would who changes a bundle on purpose."""
    names = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"
    )
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_bundle_is_complete(bundle: Path, content: BundleContent) -> None:
    manifest = verify_bundle(bundle)
    assert {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()} == FILES
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]
    assert (bundle / "model.onnx").read_bytes() == content.artefact.path.read_bytes()
    assert manifest["objectives"]["accuracy"] == {"value": 0.913, "low": 0.88, "high": 0.94, "unit": "", "direction": "higher"}
    assert manifest["labels"] == ["real", "fake"]
    assert manifest["parity"]["samples"] == 3
    assert Preprocessing.from_json(manifest["preprocessing"]) == content.preprocessing
    assert manifest["preprocessing"]["clip"]["audio"]["hop"] == 200
    assert set(manifest["files"]) == FILES - {"SHA256SUMS", "manifest.json"}
    assert manifest["versions"]["onnxruntime"]


def test_texts(bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "| accuracy | 0.913 | 0.88 to 0.94 | higher |" in card
    assert "| latency_ms | 1.25 ms | not given | lower |" in card
    assert "generated faces and voices" in card
    assert "![pictures/overlay.png](pictures/overlay.png)" in card
    names = [line.partition("==")[0] for line in (bundle / "requirements.txt").read_text().splitlines()]
    assert names == ["onnxruntime", "numpy", "av"]
    assert "predict.py clip.mp4" in (bundle / "README.md").read_text()


def test_sums_have_the_form_of_sha256sum(bundle: Path) -> None:
    before = (bundle / "SHA256SUMS").read_text()
    seal(bundle)
    assert (bundle / "SHA256SUMS").read_text() == before


@pytest.mark.parametrize("name", sorted(FILES - {"SHA256SUMS"}))
def test_one_changed_byte_is_refused(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=f"{name} does not match its checksum"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", sorted(FILES - {"SHA256SUMS"}))
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(IntegrityError, match=f"{name} is missing"):
        verify_bundle(bundle)


def test_an_unknown_file_is_named(bundle: Path) -> None:
    (bundle / "pictures" / "extra.sh").write_text("echo")
    with pytest.raises(IntegrityError, match=r"pictures/extra\.sh is not listed"):
        verify_bundle(bundle)


@pytest.mark.parametrize("name", ["../outside.txt", "/etc/hostname", "a/../../outside.txt", "C:x", "a\\b"])
def test_a_path_that_leaves_the_folder_is_refused(bundle: Path, name: str) -> None:
    (bundle.parent / "outside.txt").write_text("x")
    digest = hashlib.sha256(b"x").hexdigest()
    with (bundle / "SHA256SUMS").open("a") as stream:
        stream.write(f"{digest}  {name}\n")
    with pytest.raises(IntegrityError, match="must be named by a path within it"):
        verify_bundle(bundle)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_that_leaves_the_folder_is_refused(bundle: Path, kind: str) -> None:
    outside = bundle.parent / "elsewhere"
    if kind == "file":
        (bundle / "README.md").rename(outside)
        (bundle / "README.md").symlink_to(outside)
        message = r"README\.md leads out of the folder"
    else:
        (bundle / "pictures").rename(outside)
        (bundle / "pictures").symlink_to(outside, target_is_directory=True)
        message = r"pictures is not listed|pictures/overlay\.png leads out"
    with pytest.raises(IntegrityError, match=message):
        verify_bundle(bundle)


def test_damaged_lists(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="no such folder"):
        verify_bundle(tmp_path / "nothing")
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"files": {}}))
    seal(bundle)
    with pytest.raises(IntegrityError, match=r"manifest\.json and SHA256SUMS do not list the same files"):
        verify_bundle(bundle)
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    seal(bundle)
    with pytest.raises(
        IntegrityError,
        match=r"has format 2, written by Paretolens .*, this is .* and reads format 1; use the",
    ):
        verify_bundle(bundle)
    (bundle / "manifest.json").write_text("[]")
    seal(bundle)
    with pytest.raises(IntegrityError, match=r"manifest\.json is not a manifest"):
        verify_bundle(bundle)
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"labels": ["real", 1]}))
    seal(bundle)
    with pytest.raises(IntegrityError, match=r"labels\[1\] has the wrong type, int"):
        verify_bundle(bundle)
    (bundle / "SHA256SUMS").write_text("hello\n")
    with pytest.raises(IntegrityError, match="the line 'hello', which is no checksum"):
        verify_bundle(bundle)


def test_only_bundles_are_replaced(content: BundleContent, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"exists: replace it \(--replace\)"):
        write_bundle(bundle, content)
    write_bundle(bundle, replace(content, name="second"), replace=True)
    assert verify_bundle(bundle)["name"] == "second"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="exists: remove it"):
        write_bundle(tmp_path / "mine", content, replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "mine"]


def test_what_cannot_be_written(content: BundleContent, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        write_bundle(tmp_path / "file" / "bundle", content)
    lost = replace(content, extra={"a.png": tmp_path / "lost.png"})
    with pytest.raises(StoreError, match="cannot be written"):
        write_bundle(tmp_path / "bundle", lost)
    with pytest.raises(IntegrityError, match="path within it"):
        write_bundle(tmp_path / "bundle", replace(content, extra={"../a.png": tmp_path / "file"}))
    with pytest.raises(ConfigurationError, match=r"writes model\.onnx itself"):
        write_bundle(tmp_path / "bundle", replace(content, extra={"model.onnx": tmp_path / "file"}))
    with pytest.raises(ConfigurationError, match="eps is nan"):
        write_bundle(tmp_path / "bundle", replace(content, objectives={"eps": Objective(value=float("nan"))}))
    with pytest.raises(ConfigurationError, match="plain, finite values"):
        write_bundle(tmp_path / "bundle", replace(content, details={"path": tmp_path}))
    changed = tmp_path / "changed.onnx"
    changed.write_bytes(content.artefact.path.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match="changed since it was exported"):
        write_bundle(tmp_path / "bundle", replace(content, artefact=replace(content.artefact, path=changed)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed.onnx", "file"]


def test_rights_are_those_of_a_folder(bundle: Path) -> None:
    assert bundle.stat().st_mode & 0o777 == 0o755
