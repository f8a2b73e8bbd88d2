"""Losses of training and distillation: plain functions of tensors, all finite wherever their inputs are.

Masks are bool, True = ignore, at the resolution of the model's inputs. Attention maps are (B, R, C) with rows over the sound and
columns over the picture; a map of another size than its mask is a resampling of it.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from paretolens.errors import DataError

__all__ = [
    "DistillationTerms",
    "alignment_loss",
    "area_matrix",
    "balancing_weight",
    "distillation_loss",
    "hard_loss",
    "offset_loss",
    "resample_map",
    "soft_loss",
    "sync_loss",
    "sync_target",
]

EPSILON = 1e-8


def hard_loss(logit: Tensor, target: Tensor, *, fake_weight: Tensor | None = None) -> Tensor:
    """Mean cross-entropy of logits (B, 1) against 0/1 targets (B, 1); each fake counts `fake_weight` () times.

    Of scores (B, K) against numbers of classes (B, 1); each class counts `fake_weight` (K,) times.
    """
    if logit.shape[1] > 1:
        return F.cross_entropy(logit, target[:, 0].long(), weight=fake_weight)
    return F.binary_cross_entropy_with_logits(logit, target, pos_weight=fake_weight)


def balancing_weight(targets: Tensor, classes: int = 0) -> Tensor:
    """How often a fake must count for both classes to weigh alike: reals / fakes, (); of K classes how often each must, (K,).

    Args:
        targets: (N, 1) 0/1, or numbers of classes.
        classes: K, or 0 = real and fake.

    Raises:
        DataError: one of the classes is not there.
    """
    if classes:
        counts = torch.bincount(targets[:, 0].long(), minlength=classes)
        if not bool((counts > 0).all()):
            raise DataError(
                f"classes can be balanced where each is there, class {int(counts.argmin())} has no training sample: enlarge the "
                "split or set teacher.balance to false"
            )
        return len(targets) / (classes * counts)
    fakes = targets.sum()
    if not 0 < fakes < len(targets):
        raise DataError(
            f"classes can be balanced where there are both, {int(fakes)} of {len(targets)} training samples are fake: "
            "enlarge the split or set teacher.balance to false"
        )
    return (len(targets) - fakes) / fakes


def soft_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T²·KL(teacher's probabilities at z_t/T ‖ student's at z_s/T), mean over the batch; 0 exactly where the logits agree.

    Hinton et al. 2015, section 2: softmax over classes. For one logit it is that of Bernoulli(σ(z/T)): a softmax over a single
    logit would be constant, so that its loss is always 0.

    Args:
        student: (B, 1) logits, or (B, K) scores of classes.
        teacher: of the same shape; no gradient flows into them.
        temperature: T > 0.
    """
    a, b = teacher.detach() / temperature, student / temperature
    if student.shape[1] > 1:
        kl = F.kl_div(b.log_softmax(dim=1), a.log_softmax(dim=1), reduction="batchmean", log_target=True)
        return kl * temperature**2
    p = torch.sigmoid(a)
    divergence = p * (F.logsigmoid(a) - F.logsigmoid(b)) + (1 - p) * (F.logsigmoid(-a) - F.logsigmoid(-b))
    return divergence.mean() * temperature**2


def offset_loss(logits: Tensor, classes: Tensor, *, unknown: int = -100) -> Tensor:
    """Mean cross-entropy of (B, K) logits over the clips whose offset class is known; 0 where none is."""
    total = F.cross_entropy(logits, classes, ignore_index=unknown, reduction="sum")
    return total / (classes != unknown).sum().clamp(min=1)


def area_matrix(inputs: int, outputs: int) -> Tensor:
    """(outputs, inputs) float32: how much of each of `inputs` equal cells lies in each of `outputs` equal cells.

    Columns sum to 1: a product with it keeps the sum. Exact for any two lengths (adaptive pooling overlaps its windows).
    """
    edges_in = torch.arange(inputs + 1, dtype=torch.float64) / inputs
    edges_out = torch.arange(outputs + 1, dtype=torch.float64) / outputs
    low = torch.maximum(edges_in[None, :-1], edges_out[:-1, None])
    high = torch.minimum(edges_in[None, 1:], edges_out[1:, None])
    return ((high - low).clamp(min=0) * inputs).to(torch.float32)


def resample_map(attention: Tensor, rows: int, columns: int) -> Tensor:
    """(B, R, C) → (B, rows, columns) by area. The sum over all cells is kept; rows are not normalised."""
    if attention.shape[1] != rows:
        attention = area_matrix(attention.shape[1], rows).to(attention) @ attention
    if attention.shape[2] != columns:
        attention = attention @ area_matrix(attention.shape[2], columns).to(attention).T
    return attention


def alignment_loss(student: Tensor, teacher: Tensor, row_mask: Tensor, column_mask: Tensor) -> Tensor:
    """Mean over rows of KL(teacher's row ‖ student's row) on the smaller of both grids, per axis.

    MiniLM's transfer of attention distributions (Wang et al. 2020, eq. 2) for maps of different sizes: both maps are
    area-resampled to the smaller grid, ignored cells are dropped, and rows are normalised again. Ignored rows, and rows without
    any weight in either map (a clip without video), do not count. 0 where nothing counts.

    Args:
        student: (B, R_s, C_s), non-negative.
        teacher: (B, R_t, C_t), non-negative; no gradient flows into it.
        row_mask: (B, R) bool, True = ignore, at any resolution.
        column_mask: (B, C) bool, True = ignore, at any resolution.
    """
    rows, columns = min(student.shape[1], teacher.shape[1]), min(student.shape[2], teacher.shape[2])
    keep = _keep(row_mask, rows)[:, :, None] & _keep(column_mask, columns)[:, None, :]
    p = resample_map(teacher.detach().to(student.dtype), rows, columns) * keep
    q = resample_map(student, rows, columns) * keep
    total_p, total_q = p.sum(-1, keepdim=True), q.sum(-1, keepdim=True)
    counted = keep.any(-1) & (total_p[..., 0] > EPSILON) & (total_q[..., 0] > EPSILON)
    p, q = p / total_p.clamp(min=EPSILON), q / total_q.clamp(min=EPSILON)
    divergence = (torch.xlogy(p, p) - p * torch.log(q.clamp(min=EPSILON))).sum(-1)
    return torch.where(counted, divergence, 0.0).sum() / counted.sum().clamp(min=1)


def _keep(mask: Tensor, length: int) -> Tensor:
    """(B, N) bool, True = ignore → (B, length) bool, True = some part of the cell counts."""
    if mask.shape[1] == length:
        return ~mask
    area: Tensor = (~mask).to(torch.float32) @ area_matrix(mask.shape[1], length).to(mask.device).T
    return area > EPSILON


@dataclass(frozen=True, kw_only=True)
class DistillationTerms:
    """The parts of a distillation loss; `total` is what is minimised."""

    total: Tensor
    """() float."""
    hard: Tensor
    """() float, cross-entropy against the labels."""
    soft: Tensor
    """() float, divergence from the teacher's verdict."""
    alignment: Tensor
    """() float, divergence from the teacher's attention."""


def distillation_loss(*, hard: Tensor, soft: Tensor, alignment: Tensor, alpha: float, beta: float) -> DistillationTerms:
    """L = α·hard + (1 − α)·soft + β·alignment."""
    total = alpha * hard + (1 - alpha) * soft + beta * alignment
    return DistillationTerms(total=total, hard=hard, soft=soft, alignment=alignment)


def sync_target(row_lengths: Tensor, column_lengths: Tensor, *, rows: int, columns: int, sigma: float) -> Tensor:
    """Where the attention of a clip in sync should lie: (B, rows, columns), a Gaussian around the diagonal.

    Row i of a clip with n_a audio frames and n_v video frames is centred on column i·n_v/n_a; rows sum to 1 over the first n_v
    columns; rows from n_a on are 0.

    Args:
        row_lengths: (B,) true number of audio frames n_a.
        column_lengths: (B,) true number of video frames n_v.
        rows: length of the padded sound.
        columns: length of the padded video.
        sigma: standard deviation in video frames, > 0.
    """
    distance = _distance_to_diagonal(row_lengths, column_lengths, rows=rows, columns=columns)
    inside = _inside(row_lengths, rows)[:, :, None] & _inside(column_lengths, columns)[:, None, :]
    weight = torch.exp(-0.5 * (distance / sigma) ** 2) * inside
    return weight / weight.sum(-1, keepdim=True).clamp(min=EPSILON)


def sync_loss(
    attention: Tensor,
    row_mask: Tensor,
    column_mask: Tensor,
    in_sync: Tensor,
    *,
    sigma: float,
    half_width: float,
    off_band: float = 0.5,
    smoothness: float = 0.2,
    lengths: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """PinPoint's synchrony loss: MSE(A, diagonal) + ½·(1 − weight on the band) + .2·roughness, over the clips in sync.

    The MSE is the mean over the cells that count; the weight on the band is the share of A within `half_width` frames of the
    diagonal; the roughness is the mean squared difference of neighbouring rows. 0 where no clip counts.

    Args:
        attention: A, (B, R, C), rows sum to 1 over the columns that count.
        row_mask: (B, R) bool, True = ignore.
        column_mask: (B, C) bool, True = ignore; may also hide frames in the middle.
        in_sync: (B,) bool, real clips whose sound and picture belong together.
        sigma: width of the diagonal in video frames; the published 2 is meant for 30 frames: scale it with their number.
        half_width: half width of the band in video frames, likewise.
        off_band: weight of the second term.
        smoothness: weight of the third term.
        lengths: true (n_a, n_v), each (B,), where frames are hidden that exist; None takes them from the masks.
    """
    row_lengths, column_lengths = lengths or ((~row_mask).sum(1), (~column_mask).sum(1))
    size = {"rows": attention.shape[1], "columns": attention.shape[2]}
    cells = (~row_mask)[:, :, None] & (~column_mask)[:, None, :] & in_sync[:, None, None]
    target = sync_target(row_lengths, column_lengths, sigma=sigma, **size) * cells
    target = target / target.sum(-1, keepdim=True).clamp(min=EPSILON)
    attention = attention * cells
    count = cells.sum().clamp(min=1)
    error = ((attention - target) ** 2 * cells).sum() / count
    band = _distance_to_diagonal(row_lengths, column_lengths, **size).abs() <= half_width
    total = attention.sum()
    outside = torch.where(total > EPSILON, 1 - (attention * band).sum() / total.clamp(min=EPSILON), 0.0)
    pairs = cells[:, 1:] & cells[:, :-1]
    roughness = ((attention[:, 1:] - attention[:, :-1]) ** 2 * pairs).sum() / pairs.sum().clamp(min=1)
    return error + off_band * outside + smoothness * roughness


def _distance_to_diagonal(row_lengths: Tensor, column_lengths: Tensor, *, rows: int, columns: int) -> Tensor:
    """(B, rows, columns): column minus the diagonal's column, in video frames."""
    i = torch.arange(rows, device=row_lengths.device, dtype=torch.float32)
    j = torch.arange(columns, device=row_lengths.device, dtype=torch.float32)
    centre = i[None, :] * (column_lengths / row_lengths.clamp(min=1))[:, None]
    return j[None, None, :] - centre[:, :, None]


def _inside(lengths: Tensor, size: int) -> Tensor:
    """(B, size) bool, True for the first `lengths` positions."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]
