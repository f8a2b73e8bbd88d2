"""The stored samples of a bundle and `paretolens verify`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from paretolens.errors import BackendError, IntegrityError
from paretolens.exporters.bundle import BundleContent, verify_bundle, write_bundle
from paretolens.exporters.sample import check_sample, read_sample
from paretolens.search.cli import main


def test_recorded_outputs_are_the_runtimes(bundle: Path) -> None:
    inputs, recorded = read_sample(bundle / "sample.npz")
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"))
    for name, value in zip(recorded, session.run(list(recorded), inputs), strict=True):
        np.testing.assert_allclose(recorded[name], value, atol=1e-4)
    assert check_sample(bundle, verify_bundle(bundle)) <= 1e-6


def test_another_computation_is_refused_and_the_sample_named(bundle: Path) -> None:
    manifest = verify_bundle(bundle)
    model = onnx.load(bundle / "model.onnx")
    logit = manifest["decision"]["output"]
    for node in model.graph.node:
        node.output[:] = ["before" if name == logit else name for name in node.output]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.25), "shift"))
    model.graph.node.append(onnx.helper.make_node("Add", ["before", "shift"], [logit]))
    onnx.save(model, bundle / "model.onnx")
    with pytest.raises(BackendError, match=r"sample \d gives a logit that differs by 0.25 "):
        check_sample(bundle, manifest)


def test_samples_with_pickles_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "sample.npz", **{"input.a": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_sample(tmp_path / "sample.npz")
    np.savez(tmp_path / "sample.npz", other=np.zeros(2))
    with pytest.raises(IntegrityError, match=r"must hold input\.NAME and output\.NAME"):
        read_sample(tmp_path / "sample.npz")


def test_verify_prints_one_line_per_check(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["files", "ok:"], ["manifest", "ok:"], ["samples", "ok:"]]


def test_verify_refuses_a_changed_byte(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray((bundle / "sample.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / "sample.npz").write_bytes(content)
    assert main(["verify", str(bundle)]) == 2
    error = capsys.readouterr().err
    assert "sample.npz does not match its checksum" in error
    assert len(error.splitlines()) == 1


def test_samples_that_do_not_fit_are_refused(content: BundleContent, tmp_path: Path) -> None:
    wrong = {name: value[:, :1] if value.ndim > 2 else value for name, value in content.sample.items()}
    with pytest.raises(BackendError, match="the run failed"):
        write_bundle(tmp_path / "bundle", replace(content, sample=wrong))
    assert not (tmp_path / "bundle").exists()
    assert not list(tmp_path.glob(".bundle*"))
