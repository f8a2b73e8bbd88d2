"""What the published teachers cost beside students of their spaces: parameters, operations, time on one CPU core.

    python benchmarks/published_pairs.py

The networks are untrained: time and size do not depend on what they have learnt. Each pair is exported to ONNX and timed in one
run by the same protocol as a search, so that the ratio means something; the milliseconds are this machine's.
"""

from collections.abc import Mapping

from paretolens.search.cheap import CheapCost, cost_of, teacher_cost
from paretolens.search.config import Config, load_config
from paretolens.spaces.knobs import Value

PUBLISHED_CROSS = "model.teacher={whole: true, small_patch: 7, large_patch: 56}"
SMALL_CROSS = {"backbone_width": 0.25, "small_stage": 4, "small_patch": 7, "large_patch": 14}
PAIRS = {
    "LaDeDa9 at 256 pixels": ("ladeda-cluster", (), {}),
    "Cross Efficient ViT at 224 pixels": ("cross-efficient-vit-cluster", (PUBLISHED_CROSS,), SMALL_CROSS),
}


def main() -> None:
    """Print one block per pair."""
    for title, (preset, assignments, smaller) in PAIRS.items():
        config = load_config(preset=preset, assignments=("latency.backend=onnxruntime", *assignments), flags={})
        teacher = teacher_cost(config)
        print(f"{title}\n  teacher          {described(teacher)}")
        for label, wish in {"default student": {}, "smaller student": smaller}.items():
            if wish or label == "default student":
                student = student_cost_of(config, wish)
                print(f"  {label}  {described(student)}\n    {compared(student, teacher)}")


def student_cost_of(config: Config, wish: Mapping[str, Value]) -> CheapCost:
    """Cost of the space's default with some knobs set, neither pruned nor quantised."""
    family, space = config.make_family(), config.make_space()
    signature = family.signature(config.make_model_settings())
    genome = space.repair({**space.default(), **wish})
    return cost_of(family.student(genome, signature, seed=config.seed), config)


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
    main()
