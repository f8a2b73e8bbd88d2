"""A file that some runtime runs, in the place of a torch module: forward passes alone, and no gradients."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paretolens.exporters.files import sha256_of

__all__ = ["FileModel"]


class FileModel(nn.Module):
    """Gives the logits of a file.

    Args:
        path: the file; its checksum is the module's only state, so that two files are two models.
        run: runs it: inputs (B, ...) by name → outputs by name, `logit` (B, 1), or scores of classes (B, K), among them.
        names: of the inputs, in the order of `forward`.
    """

    def __init__(
        self, path: Path, run: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]], names: Sequence[str]
    ) -> None:
        super().__init__()
        self.run = run
        self.names = tuple(names)
        self.register_buffer("sha256", torch.tensor(list(bytes.fromhex(sha256_of(path))), dtype=torch.uint8))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Logits (B, 1), or scores of classes (B, K), float32."""
        given = {name: tensor.detach().cpu().numpy() for name, tensor in zip(self.names, inputs, strict=True)}
        logits = np.array(self.run(given)["logit"], dtype=np.float32)
        return torch.from_numpy(logits.reshape(len(logits), -1))
