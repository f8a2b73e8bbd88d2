"""EPS against the plain recipe, side by side in one run: the same definition, the same nodes, the same score.

The plain recipe explains teacher and student with Captum, sample by sample, and compares them with SciPy. Ours keeps the
teacher's maps and scores the student in chunks. Times are CPU seconds of this process. The image detectors are trained here for
a few seconds on planted patches. The audio-visual ones are untrained and of the default task's shapes, so that only times and
parity count, unless a trained pair is named (folders as `paretolens eps` takes them).

    python benchmarks/eps_speed.py [--samples 12] [--nodes 16] [--threads 1] [--teacher A --student B --data DIR] [--memory]
"""

import argparse
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from scipy.stats import spearmanr
from torch import Tensor, nn

import paretolens.models.pinpoint  # noqa: F401  # registers the builder
from paretolens.evaluators.eps import EpsSettings, ExplainedSet, Population, TeacherReference, score_eps
from paretolens.evaluators.explain import logit_of
from paretolens.models.registry import build
from paretolens.models.signature import InputKind, InputSpec, Signature
from paretolens.search.config import load_config
from paretolens.search.pair import explained_clips, load_twin
from paretolens.trainers.quantise import quantisers_off

EXACT = 128
"""Nodes of the score that the default setting is held against."""
CHANNELS = {InputKind.VIDEO: 1, InputKind.IMAGE: 0}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Two networks and what they are explained on."""

    name: str
    teacher: nn.Module
    student: nn.Module
    explained: ExplainedSet
    trained: bool


class ImageDetector(nn.Module):
    """A plain convolutional detector of single pictures."""

    def __init__(self, seed: int, width: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        sizes = (3, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.verdict = nn.Linear(sizes[-1], 1)

    def forward(self, image: Tensor) -> Tensor:
        """Logit (B, 1)."""
        found: Tensor = self.verdict(self.features(image).mean((2, 3)))
        return found


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Smooth noise (N, 3, 96, 96) and labels (N, 1); the fakes carry a checkered patch of 16 px somewhere."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 12, 12, generator=generator)
    images = nn.functional.interpolate(coarse, size=(96, 96), mode="bilinear") + 0.3 * torch.randn(
        count, 3, 96, 96, generator=generator
    )
    labels = (torch.arange(count) % 2).float()[:, None]
    checks = ((torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1.0) * 0.5
    for row in (labels[:, 0] > 0).nonzero()[:, 0]:
        top, left = torch.randint(0, 80, (2,), generator=generator).tolist()
        images[row, :, top : top + 16, left : left + 16] += checks
    return images, labels


def trained(model: nn.Module, seed: int, steps: int) -> nn.Module:
    """The model after some steps on fresh pictures."""
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    model.train()
    for step in range(steps):
        images, labels = pictures(32, 1000 * seed + step)
        loss = nn.functional.binary_cross_entropy_with_logits(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def image_case(samples: int, steps: int = 120) -> Case:
    """96 px pictures, networks of two widths; all explained pictures are fakes."""
    signature = Signature(inputs=(InputSpec(name="image", shape=(3, 96, 96), kind=InputKind.IMAGE),), outputs=("logit",))
    images, _ = pictures(2 * samples, 7)
    explained = ExplainedSet.of_tensors(signature, (images[1::2].contiguous(),), (torch.zeros(1, 3, 96, 96),))
    teacher, student = trained(ImageDetector(0, 32), 1, steps), trained(ImageDetector(1, 16), 2, steps)
    return Case(name="image", teacher=teacher, student=student, explained=explained, trained=True)


def pinpoint_case(samples: int) -> Case:
    """The default task's shapes: 8 frames of 64 px, 80 × 13 coefficients, a quarter of the clips padded."""
    signature = Signature(
        inputs=(
            InputSpec(name="video", shape=(8, 3, 64, 64), kind=InputKind.VIDEO, mask="video_mask"),
            InputSpec(name="audio", shape=(80, 13), kind=InputKind.AUDIO, mask="audio_mask"),
            InputSpec(name="video_mask", shape=(8,), kind=InputKind.MASK),
            InputSpec(name="audio_mask", shape=(80,), kind=InputKind.MASK),
        ),
        outputs=("logit", "offset", "attention"),
    )
    torch.manual_seed(1)
    video_mask, audio_mask = torch.zeros(samples, 8, dtype=torch.bool), torch.zeros(samples, 80, dtype=torch.bool)
    video_mask[::4, 6:], audio_mask[::4, 60:] = True, True
    inputs = (torch.randn(samples, 8, 3, 64, 64), torch.randn(samples, 80, 13), video_mask, audio_mask)
    explained = ExplainedSet.of_tensors(signature, inputs, (torch.zeros(1, 8, 3, 64, 64), torch.zeros(1, 80, 13), None, None))
    common = {"input_frames": 8, "input_size": 64, "audio_frames": 80}
    teacher = build("pinpoint", backbone="resnet18", backbone_width=0.5, width=128, depth=3, heads=8, **common)
    student = build("pinpoint", backbone="mobilenet_v3_small", backbone_width=0.5, width=64, depth=2, heads=4, **common)
    return Case(name="audio-visual", teacher=teacher.eval(), student=student.eval(), explained=explained, trained=False)


def named_case(teacher: Path, student: Path, data: Path, samples: int) -> Case:
    """Two trained models on clips of their test split."""
    explained = explained_clips(data, EpsSettings(samples=samples), split="test", like=None)
    return Case(
        name=f"audio-visual, {student.name}",
        teacher=load_twin(teacher, "teacher"),
        student=load_twin(student, "student"),
        explained=explained,
        trained=True,
    )


def pooled(values: Tensor, kind: InputKind, settings: EpsSettings, ignored: Tensor | None) -> np.ndarray:
    """Evidence of one sample on the grid, padding left out, written for reading and not for speed."""
    kept = values if ignored is None else values[~ignored]
    if kind is InputKind.AUDIO:
        pool = settings.audio_pool
        return torch.stack([kept[i : i + pool].mean(0) for i in range(0, len(kept), pool)]).flatten().numpy()
    grid = settings.video_grid if kind is InputKind.VIDEO else settings.image_grid
    return nn.functional.adaptive_avg_pool2d(kept, grid).flatten().numpy() if kept.dim() == 3 else pooled_image(kept, grid)


def pooled_image(kept: Tensor, grid: int) -> np.ndarray:
    """An image has no time axis."""
    return nn.functional.adaptive_avg_pool2d(kept[None], grid).flatten().numpy()


def top(values: np.ndarray, share: float) -> set[int]:
    """The top share of the strictly positive cells."""
    best = np.argsort(-values, kind="stable")[: max(1, round(share * len(values)))]
    return {int(i) for i in best if values[i] > 0}


def plain_maps(model: nn.Module, case: Case, row: int, settings: EpsSettings) -> tuple[list[Tensor], float]:
    """Captum's attributions of one sample to each explained input, and ΔF."""
    explained = case.explained
    moving = [i for i, b in enumerate(explained.baseline) if b is not None]
    fixed = [i for i in range(len(explained.inputs)) if i not in moving]

    def forward(*tensors: Tensor) -> Tensor:
        return logit_of(model(*tensors))

    found, delta = CaptumIntegratedGradients(forward).attribute(
        tuple(explained.inputs[i][row : row + 1] for i in moving),
        tuple(explained.baseline[i] for i in moving),
        additional_forward_args=tuple(explained.inputs[i][row : row + 1] for i in fixed),
        n_steps=settings.nodes,
        return_convergence_delta=True,
    )
    return [part[0].detach() for part in found], float(sum(part.sum() for part in found) - delta)


def plain_eps(case: Case, settings: EpsSettings) -> float:
    """EPS as a first version would compute it."""
    explained, scores = case.explained, []
    specs = explained.signature.explained
    for row in range(len(explained)):
        one = [x[row : row + 1] for x in explained.inputs]
        with torch.no_grad():
            sign = 1.0 if float(logit_of(case.teacher(*one))) > 0 else -1.0
        theirs, change = plain_maps(case.teacher, case, row, settings)
        mine, _ = plain_maps(case.student, case, row, settings)
        values = []
        for spec, a, b in zip(specs, theirs, mine, strict=True):
            if abs(float(a.sum())) < settings.gate * abs(change):
                continue
            ignored = explained.ignored(spec.name)
            axis = CHANNELS.get(spec.kind)
            kept = None if ignored is None else ignored[row]
            maps = [sign * (x if axis is None else x.sum(axis)) for x in (a, b)]
            cells = [pooled(x.relu(), spec.kind, settings, kept) for x in maps]
            masks = [top(x, settings.top_share) for x in cells]
            iou = len(masks[0] & masks[1]) / len(masks[0] | masks[1])
            values.append(settings.rank_weight * spearmanr(*cells).statistic + (1 - settings.rank_weight) * iou)
        scores.append(float(np.mean(values)))
    return float(np.mean(scores))


def timed(work: Callable[[], float]) -> tuple[float, float]:
    """What the work gives, and its CPU seconds."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def compare(case: Case, nodes: int) -> None:
    """Print one case."""
    same = EpsSettings(population=Population.ALL, change_share=0.0, nodes=nodes, probes=0, doublings=0, pixels=False)
    preset = load_config(flags={}).eps
    default = replace(preset, population=Population.ALL, change_share=0.0)
    few = [x[:2] for x in case.explained.inputs]
    logit_of(case.teacher(*few)), logit_of(case.student(*few))  # warm up
    plain, plain_s = timed(lambda: plain_eps(case, same))
    start = time.process_time()
    reference = TeacherReference.compute(case.teacher, case.explained, same)
    teacher_s = time.process_time() - start
    ours, ours_s = timed(lambda: score_eps(case.student, reference).eps)
    full_reference = TeacherReference.compute(case.teacher, case.explained, replace(default, nodes=16))
    full, full_s = timed(lambda: score_eps(case.student, full_reference, default).eps)
    count = len(case.explained)
    print(f"{case.name}: {count} samples, {nodes} nodes")
    print(f"  plain recipe          EPS {plain:.6f}   {plain_s:7.2f} s   {1e3 * plain_s / count:6.1f} ms each")
    print(f"  same, teacher cached  EPS {ours:.6f}   {ours_s:7.2f} s   {plain_s / ours_s:5.1f}x   |dEPS| {abs(ours - plain):.1e}")
    note = f"{default.nodes} nodes, {default.probes} probes, pixel maps too"
    print(f"  default of a search   EPS {full:.6f}   {full_s:7.2f} s   {plain_s / full_s:5.1f}x   ({note})")
    settings = default.of_second()
    if settings is not None:
        second_reference = TeacherReference.compute(case.teacher, case.explained, settings)
        second, second_s = timed(lambda: score_eps(case.student, second_reference).eps)
        print(f"  and {settings.explainer:<17} EPS {second:.6f}   {second_s:7.2f} s   (the second explainer)")
    print(f"  teacher, once a study            {teacher_s:7.2f} s")
    if case.trained:
        exact = replace(default, nodes=EXACT, pixels=False)
        best = score_eps(case.student, TeacherReference.compute(case.teacher, case.explained, exact)).eps
        print(
            f"  at {EXACT} nodes          EPS {best:.6f}   default |dEPS| {abs(full - best):.4f}, plain {abs(plain - best):.4f}"
        )
    if abs(ours - plain) > 1e-5:
        raise SystemExit(f"{case.name}: the scores differ by {abs(ours - plain):.1e}, more than 1e-5")


def anonymous_mb() -> float:
    """Memory of this process that no file backs, MB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return float(line.split()[1]) / 1e3
    return float("nan")


def untrained_case(name: str, samples: int) -> Case:
    """What memory is measured on: the weights do not matter."""
    return image_case(samples, steps=0) if name == "image" else pinpoint_case(samples)


def write_reference(name: str, samples: int, folder: Path) -> None:
    """The student's own maps in the place of the teacher's."""
    settings = EpsSettings(population=Population.ALL, change_share=0.0, nodes=4, probes=4, doublings=0)
    case = untrained_case(name, samples)
    TeacherReference.compute(case.student, case.explained, settings).save(folder)


def peak_mb(name: str, folder: Path) -> tuple[float, float]:
    """Anonymous memory before scoring, and the most while scoring, with everything else mapped from disk."""
    torch.set_num_threads(1)
    student, reference = untrained_case(name, 2).student, TeacherReference.load(folder, verify=False)
    before, highest, done = anonymous_mb(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.005):
            highest = max(highest, anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    score_eps(student, reference)
    done.set()
    watcher.join()
    return before, highest


def memory() -> None:
    """Print what scoring takes at two sample counts, each in a fresh process."""
    for name in ("image", "audio-visual"):
        for count in (64, 512):
            with TemporaryDirectory() as place, get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
                folder = Path(place) / "reference"
                fresh.apply(write_reference, (name, count, folder))
                before, peak = fresh.apply(peak_mb, (name, folder))
            print(f"{name}: {count} samples, {before:.0f} MB before, peak {peak:.0f} MB, so {peak - before:.0f} MB for scoring")


def main() -> None:
    """Run both cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=12, help="clips; four times as many pictures")
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    for name in ("teacher", "student", "data"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--memory", action="store_true", help="show peak memory at 64 and 512 samples instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        memory()
        return
    compare(image_case(4 * options.samples), options.nodes)
    named = (options.teacher, options.student, options.data)
    if all(named):
        case = named_case(*named, options.samples)
        with quantisers_off(case.student):
            compare(case, options.nodes)
    else:
        compare(pinpoint_case(options.samples), options.nodes)


if __name__ == "__main__":
    main()
