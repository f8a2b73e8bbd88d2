import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from paretolens.data.clips import read_clip, read_inputs
from paretolens.data.features import AudioSettings, mfcc
from paretolens.data.preprocessing import ClipSettings, Preprocessing
from paretolens.exporters import clip_reader as reader
from paretolens.exporters import predict_template as predict
from paretolens.exporters.bundle_model import scale
from paretolens.models.signature import Signature

NAMES = ("usual", "short", "silent", "large", "slow")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("start", [0.0, 0.2])
def test_reads_a_clip_as_the_data_room_does(
    clips: dict[str, Path], preprocessing: Preprocessing, name: str, start: float
) -> None:
    wanted = read_clip(clips[name], preprocessing.clip, start=start)
    found, seconds, note = reader.read_clip(clips[name], asdict(preprocessing.clip), start=start)
    assert set(found) == set(wanted.arrays)
    assert (seconds, note) == (wanted.seconds, wanted.note)
    for mask in ("video", "video_mask", "audio_mask"):
        np.testing.assert_array_equal(found[mask], wanted.arrays[mask])
    np.testing.assert_allclose(found["audio"], wanted.arrays["audio"], atol=2e-3)
    assert found["audio"].dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_the_models(clips: dict[str, Path], signature: Signature, preprocessing: Preprocessing, name: str) -> None:
    wanted = read_inputs(clips[name], signature, preprocessing)
    arrays, _, _ = reader.read_clip(clips[name], asdict(preprocessing.clip))
    specs = [asdict(spec) for spec in signature.inputs]
    found = scale(arrays, specs, asdict(preprocessing.normaliser))
    for spec, tensor in zip(signature.inputs, wanted, strict=True):
        np.testing.assert_allclose(found[spec.name], tensor.numpy(), atol=1e-3)
        assert found[spec.name].dtype == tensor.numpy().dtype


@pytest.mark.parametrize("side", [20, 33, 64, 65, 100, 191, 383, 384, 385, 386, 577, 578, 721, 1080])
@pytest.mark.parametrize("size", [64, 96])
def test_resizing_is_pillows_to_the_bit(side: int, size: int) -> None:
    generator = np.random.default_rng(side)
    coarse = generator.integers(0, 2, (side // 8 + 1, side // 8 + 1, 3)).astype(np.uint8) * 255
    blocks = np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:side, :side]  # hard edges, where the cubic filter overshoots
    picture = np.ascontiguousarray(
        np.where(generator.random((side, side, 1)) < 0.5, blocks, generator.integers(0, 256, (side, side, 3)))
    )
    picture = picture.astype(np.uint8)
    wanted = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    np.testing.assert_array_equal(reader.resize(picture, size), np.asarray(wanted))


@pytest.mark.parametrize("samples", [199, 200, 256, 257, 3000, 16000])
@pytest.mark.parametrize("settings", [AudioSettings(), AudioSettings(rate=8000, n_fft=256, hop=80, mels=26, coefficients=20)])
def test_mfcc_is_the_data_rooms(samples: int, settings: AudioSettings) -> None:
    wave = (np.random.default_rng(0).standard_normal(samples) * 0.1 * np.sin(np.arange(samples) / 40)).astype(np.float32)
    found = reader.mfcc(wave, asdict(settings))
    if samples < settings.hop:
        assert found.shape == (0, settings.coefficients)
        return
    np.testing.assert_allclose(found, mfcc(torch.from_numpy(wave), settings).numpy(), atol=2e-4)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """predict.py as a user runs it, in a process that would fail to import torch or the project."""
    guard = (
        "import runpy, sys\n"
        "class Guard:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'paretolens', 'PIL', 'scipy', 'onnx'):\n"
        "            raise ImportError(f'{name} must not be needed')\n"
        "sys.meta_path.insert(0, Guard())\n"
        "sys.argv = sys.argv[1:]\n"
        "sys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"  # as Python does for a script
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", guard, str(folder / "predict.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_script_gives_the_torch_models_verdict(
    bundle: Path, clips: dict[str, Path], student: nn.Module, signature: Signature, preprocessing: Preprocessing
) -> None:
    done = run(bundle, "--json", *(str(clips[name]) for name in NAMES))
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    for name, result in zip(NAMES, results, strict=True):
        with torch.no_grad():
            logit = float(student(*read_inputs(clips[name], signature, preprocessing)).logit)
        assert result["logit"] == pytest.approx(logit, abs=1e-4)
        assert result["probability"] == pytest.approx(1.0 / (1.0 + np.exp(-logit)), abs=1e-4)
        assert result["verdict"] == ("fake" if logit > 0 else "real")
        assert 0.0 < result["model_ms"] < result["total_ms"]
    assert results[NAMES.index("silent")]["note"].startswith("no sound: the audio is masked")
    assert not list(bundle.rglob("__pycache__"))


def test_script_prints_one_line(bundle: Path, clips: dict[str, Path]) -> None:
    done = run(bundle, str(clips["usual"]))
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.split()[0] in ("real", "fake")
    assert line.endswith(f"ms  {clips['usual']}")


def test_script_refuses_a_changed_model(bundle: Path, clips: dict[str, Path]) -> None:
    content = bytearray((bundle / "model.onnx").read_bytes())
    content[-1] ^= 1
    (bundle / "model.onnx").write_bytes(content)
    done = run(bundle, str(clips["usual"]))
    assert done.returncode == 2
    assert done.stderr.startswith("error: model.onnx does not match its checksum")
    assert len(done.stderr.splitlines()) == 1


def test_bad_clips_are_one_line_each(bundle: Path, clips: dict[str, Path], tmp_path: Path) -> None:
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(bytes(range(256)) * 20)
    still = tmp_path / "still.png"
    Image.new("RGB", (64, 64), "red").save(still)
    clip = asdict(ClipSettings())
    predictor = predict.Predictor(bundle)
    wrong = ((tmp_path / "none.mp4", "not exist"), (noise, "is not"), (tmp_path / "empty", "must hold"), (still, "still picture"))
    (tmp_path / "empty").mkdir()
    for path, message in wrong:
        with pytest.raises(predict.PredictError, match=message):
            predictor.predict(path)
    with pytest.raises(predict.PredictError, match="at least one frame after 50 s"):
        reader.read_clip(clips["usual"], clip, start=50.0)
    done = run(bundle, str(noise), str(clips["usual"]))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == len(done.stdout.splitlines()) == 1, "the clips after a bad one are judged"


def test_bad_bundles_are_one_line_each(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(predict.PredictError, match=r"manifest\.json of the bundle .* cannot be read"):
        predict.Predictor(tmp_path)
    other = shutil.copytree(bundle, tmp_path / "other")
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"format": 7}))
    with pytest.raises(predict.PredictError, match="has format 7"):
        predict.Predictor(other)
    (bundle / "model.onnx").unlink()
    with pytest.raises(predict.PredictError, match=r"model\.onnx of the bundle .* cannot be read"):
        predict.Predictor(bundle)


def wav(path: Path, wave: np.ndarray, rate: int) -> Path:
    """A 16-bit WAV file, written by the standard library."""
    import wave as waves

    with waves.open(str(path), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes((wave * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Twelve pictures, numbered without leading zeros."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(12):
        picture = np.full((40, 60, 3), 20 * index, np.uint8)
        Image.fromarray(picture).save(folder / f"frame{index}.png")
    return folder


def test_a_folder_of_pictures_is_a_clip(frames: Path, preprocessing: Preprocessing) -> None:
    clip = asdict(preprocessing.clip)
    arrays, seconds, note = reader.read_clip(frames, clip)
    assert [int(value) for value in arrays["video"].mean((1, 2, 3))] == [0, 20, 40, 60], "in the order of their numbers"
    assert (seconds, note) == (0.5, "no sound: the audio is masked")
    assert arrays["audio_mask"].all() and not arrays["video_mask"].any()
    faster, seconds, _ = reader.read_clip(frames, clip, start=0.25, fps=16.0)
    assert [int(value) for value in faster["video"].mean((1, 2, 3))] == [80, 120, 160, 200]
    assert seconds == 0.5


def test_sound_in_a_folder_belongs_to_its_pictures(frames: Path, preprocessing: Preprocessing) -> None:
    clip = asdict(preprocessing.clip)
    tone = (0.3 * np.sin(np.arange(16000) / 9)).astype(np.float32)
    wav(frames / "sound.wav", tone, 16000)
    arrays, _, note = reader.read_clip(frames, clip)
    assert note == ""
    wanted = mfcc(torch.from_numpy(np.trunc(tone[:8000] * 32767) / np.float32(32768)), preprocessing.clip.audio).numpy()
    np.testing.assert_allclose(arrays["audio"], wanted, atol=0.05)


def test_sound_alone_masks_the_picture_and_says_so(bundle: Path, tmp_path: Path) -> None:
    path = wav(tmp_path / "voice.wav", (0.3 * np.sin(np.arange(16000) / 9)).astype(np.float32), 16000)
    done = run(bundle, "--json", str(path))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["note"].startswith("no picture: the video is masked")
    assert result["seconds"] == 0.5
    assert np.isfinite(result["logit"])


def test_a_verdict_that_no_longer_depends_on_the_clip_is_said(bundle: Path, frames: Path, clips: dict[str, Path]) -> None:
    predictor = predict.Predictor(bundle)
    pictures, film = predictor.predict(frames), predictor.predict(clips["silent"])
    same = pictures["logit"] == pytest.approx(film["logit"], abs=1e-6)
    assert ("says the same of every clip" in pictures["note"]) == same
    assert predictor.predict(clips["usual"])["note"] == ""
