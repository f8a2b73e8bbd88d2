"""Which cluster preset is tried on which layouts, and how it is made small; what is left is what the preset says."""

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["CASES", "Case"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One cluster preset."""

    layouts: tuple[str, ...]
    """Data sets of the family, by name in `LAYOUTS`."""
    small: tuple[str, ...]
    """Settings that make input, teacher and space small, and a clip short."""
    fast: tuple[str, ...]
    """Settings that end every stage early; with these alone all networks have the preset's own size."""


_FAST = (
    "eps={samples: 4, nodes: 4, resamples: 100, population: all}",
    "latency={runs: 8, min_runs: 4, seconds: 0.5, backend: onnxruntime}",
    "search={workers: 1, gpus_per_worker: 0, trials: 2}",
    "floor.seeds=3",
    "proxy.clips=0",
    "data.max_skipped=0",
)
_STUDENT = "student={distill: {epochs: 8, batch_size: 4, learning_rate: 0.003}, repair: {epochs: 1, batch_size: 4}}"
_LATER = "student={align: {epochs: 1, batch_size: 4}, qat: {epochs: 1, batch_size: 4}}"

CASES: Mapping[str, Case] = {
    "pinpoint-cluster": Case(
        layouts=("LAV-DF", "FakeAVCeleb"),
        small=(
            "data={frames: 4, size: 32}",
            "model={frames: 4, frame_size: 32, audio_frames: 40}",
            "model.teacher={backbone_width: 0.125, width: 32, depth: 1, heads: 4}",
            "space={frames: [4], frame_size: [32], backbone: [mobilenet_v3_small], backbone_width: [0.25], width: [32]}",
            "space.depth=[1]",
        ),
        fast=(
            *_FAST,
            "teacher={epochs: 8, batch_size: 8, masked_epochs: 1, gentle_epochs: 1, learning_rate: 0.003}",
            _STUDENT,
            _LATER,
        ),
    ),
    "ladeda-cluster": Case(
        layouts=("WildRF", "ForenSynths"),
        small=("data.size=48", "model={size: 48, teacher: {width: 4, blocks: [1, 1, 1, 1]}}"),
        fast=(
            *_FAST,
            "teacher={epochs: 2, batch_size: 8}",
            _STUDENT,
            _LATER,
            "student.head={epochs: 1, batch_size: 4}",
        ),
    ),
    "cross-efficient-vit-cluster": Case(
        layouts=("DFDC", "FaceForensics++"),
        small=(
            "data.size=48",
            "model={size: 48, teacher: {backbone_width: 0.25, small_width: 32, large_width: 32, depth: 1, large_patch: 4}}",
            "space={large_patch: [4], small_patch: [1], small_stage: [4], backbone_width: [0.25], hidden: [256]}",
        ),
        fast=(*_FAST, "data.per_video=2", "teacher={epochs: 8, batch_size: 4, learning_rate: 0.05}", _STUDENT, _LATER),
    ),
    "aware-net-cluster": Case(
        layouts=("manifest", "Celeb-DF-v2"),
        small=(
            "data.size=32",
            "model={size: 32, teacher: {cnn: resnet18, multiplier: 0.125, convnext: mote, autoencoder: 0.25}}",
            "model.teacher={embed: 16, hidden: 16, align: 8}",
            "space={first_network: [mobilenet_v3_small], first_multiplier: [0.25], first_size: [32], second_cnn: [resnet18]}",
            "space={second_multiplier: [0.125], second_convnext: [mote], second_autoencoder: [0.25], second_size: [32]}",
            "space={second_align: [8], third_trees: [5]}",
        ),
        fast=(*_FAST, "data.per_video=2", "teacher={epochs: 8, batch_size: 8, learning_rate: 0.003}", _STUDENT),
    ),
    "image-classifier-cluster": Case(
        layouts=("class folders", "DeepfakeBench"),
        small=(
            "data.size=48",
            "model={size: 48, teacher: {network: resnet18, multiplier: 0.25}}",
            "space={network: [resnet18, mobilenet_v3_small], multiplier: [0.25], input_size: [48]}",
        ),
        fast=(*_FAST, "teacher={epochs: 8, batch_size: 8, learning_rate: 0.003}", _STUDENT, _LATER),
    ),
}
"""Preset → how it is tried."""
