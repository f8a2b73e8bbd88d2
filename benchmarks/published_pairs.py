"""What the published teachers cost beside students of their spaces: parameters, operations, time on one CPU core.

    python benchmarks/published_pairs.py [FAMILY ...]

The networks are untrained: time and size do not depend on what they have learnt. Each pair is exported to ONNX and timed in one
run by the same protocol as a search, so that the ratio means something; the milliseconds are this machine's.
"""

import sys
from collections.abc import Mapping

from paretolens.search.cheap import CheapCost, student_cost, teacher_cost
from paretolens.search.config import Config, load_config
from paretolens.spaces.knobs import Value

WHOLE = {"prune_ratio": 0.0, "qat": False}
PUBLISHED_CROSS = "model.teacher={whole: true, small_patch: 7, large_patch: 56}"
SMALL_CROSS = {"backbone_width": 0.25, "small_stage": 4, "small_patch": 7, "large_patch": 14}
SMALL_CASCADE = {"first_network": "timm:mobilenetv4_conv_small_050", "first_size": 160, "second_size": 160}
PAIRS: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, Mapping[str, Value]]]] = {
    "PinPoint at 30 frames of 128 pixels": (
        "pinpoint",
        (),
        {
            "PIN-Lite": {},
            "half pruned": {"prune_ratio": 0.5},
            "in int8": {"qat": True},
            "8 frames": {"frames": 8},
            "shared keys, rank ½": {"shared_keys": True, "attention_rank": 0.5},
        },
    ),
    "AWARE-NET's expert at 256 pixels, and stage 1 of cascades": (
        "aware-net",
        (),
        {"default student": {}, "smaller student": SMALL_CASCADE, "smaller, half pruned": {**SMALL_CASCADE, "prune_ratio": 0.5}},
    ),
    "EfficientNetV2-S at 224 pixels": (
        "image-classifier",
        (),
        {"default student": {}, "at 160 pixels": {"input_size": 160}, "in int8": {"qat": True}},
    ),
    "LaDeDa9 at 256 pixels": ("ladeda", (), {"default student": {}}),
    "Cross Efficient ViT at 224 pixels": (
        "cross-efficient-vit",
        (PUBLISHED_CROSS,),
        {
            "default student": {},
            "smaller student": SMALL_CROSS,
            "smaller, half pruned": {**SMALL_CROSS, "prune_ratio": 0.5},
            "smaller, in int8": {**SMALL_CROSS, "qat": True},
        },
    ),
}
"""Title → family, settings beyond those of its cluster preset, students by label."""


def main(wanted: list[str]) -> None:
    """Print one block per pair of the families that are wanted; none = all."""
    for title, (family, assignments, students) in PAIRS.items():
        if wanted and family not in wanted:
            continue
        config = load_config(preset=f"{family}-cluster", assignments=("latency.backend=onnxruntime", *assignments), flags={})
        teacher = teacher_cost(config)
        print(f"{title}\n  {'teacher':<20}  {described(teacher)}", flush=True)
        for label, wish in students.items():
            student = cost_of_wish(config, {**WHOLE, **wish})
            print(f"  {label:<20}  {described(student)}\n    {compared(student, teacher)}", flush=True)


def cost_of_wish(config: Config, wish: Mapping[str, Value]) -> CheapCost:
    """Cost of the space's default with some knobs set."""
    space = config.make_space()
    return student_cost(space.repair({**space.default(), **wish}), config)


def described(cost: CheapCost) -> str:
    """One line."""
    return (
        f"{cost.parameters:11,.0f} parameters  {cost.macs / 1e6:8,.1f} M MACs  {cost.size_mb:6.2f} MB  {cost.latency_ms:6.2f} ms"
    )


def compared(student: CheapCost, teacher: CheapCost) -> str:
    """How much less of both."""
    fewer, less = 1 - student.parameters / teacher.parameters, 1 - student.latency_ms / teacher.latency_ms
    return f"{fewer:.2%} fewer parameters, {less:.2%} less time, {teacher.latency_ms / student.latency_ms:.1f} times as fast"


if __name__ == "__main__":
    main(sys.argv[1:])
