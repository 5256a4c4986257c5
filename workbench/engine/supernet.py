"""The fast supernet: what `spaces.Supernet` computes, from packed cells."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.engine.geometry import channels_last
from workbench.engine.graphs import Graphs
from workbench.engine.packed import Kernels, PackedCell
from workbench.engine.preprocess import Ahead
from workbench.protocols import Mixture, Mixtures
from workbench.spaces.supernet import SearchCell, Supernet, read_choice


class FastSupernet(nn.Module):
    """The same function of pictures and mixing weights, the same state dict, fewer operations.

    Maps are channels-last.

    Args:
        net: the readable supernet; the weights of operations are copied, its stem, preprocessing,
            fixed blocks and head are taken.
        kernels: run cells on these; in batched torch operations if None, and where a gradient is to
            be differentiated again.
        recompute: keep only the inputs of cells for the backward pass.
        graphs: replay CUDA graphs of whole passes in training.
    """

    def __init__(
        self,
        net: Supernet,
        *,
        kernels: Kernels | None = "cpu",
        recompute: bool = False,
        graphs: bool = False,
    ) -> None:
        super().__init__()
        self.space = net.space
        self.stem, self.head = net.stem, net.head
        self.blocks = nn.ModuleList()
        for layer, block in zip(net.space.layers, net.blocks, strict=True):
            if isinstance(block, SearchCell):
                block = PackedCell(
                    block, layer, net.space.family, kernels=kernels, recompute=recompute
                )
            self.blocks.append(block)
        cells = [block for block in self.blocks if isinstance(block, PackedCell)]
        self.forms = {cell.kind: cell.layout.form for cell in cells}
        self.chosen = any(form.chosen for form in self.forms.values())
        like = next(net.parameters())  # a cell may have no weight to tell its number format by
        self.to(like.device, like.dtype)
        self.train(net.training)
        self.graphs = Graphs(self.eager) if graphs and not self.chosen else None

    def forward(self, images: Tensor, mixtures: Mixtures, t: float = 0.0) -> Tensor:
        """Logits `(batch, classes)` of `images` `(batch, channels, height, width)`."""
        mixtures = {kind: self._with_more(kind, x, t) for kind, x in mixtures.items()}
        if self.graphs is not None and self.training and torch.is_grad_enabled():
            return self.graphs(self, images, mixtures)
        return self.eager(images, mixtures)

    def _with_more(self, kind: str, mixture: Mixture, t: float) -> Mixture:
        """Behind every row, what the mixed edges of that kind add to their candidates."""
        ops, form = mixture.ops, self.forms.get(kind)
        for number in form.more(t) if form else ():  # a padding copies nothing from the host
            ops = functional.pad(ops, (0, 1), value=number)
        return Mixture(ops, mixture.edges)

    def eager(self, images: Tensor, mixtures: Mixtures) -> Tensor:
        """The same, operation by operation, for rows that have all that is in them."""
        far, near = self.stem(images.contiguous(memory_format=torch.channels_last))
        far, near = channels_last(far), channels_last(near)
        runs = read_choice(mixtures) if self.chosen else {}
        ahead: Ahead | None = None
        for block, after in zip_longest(self.blocks, self.blocks[1:]):
            if isinstance(block, PackedCell):
                mixture, known = mixtures[block.kind], ahead and ahead.made
                ahead = after.looks_back() if isinstance(after, PackedCell) else None
                runs_here = runs.get(block.kind)
                out = block((far, near), mixture.ops, mixture.edges, known, ahead, runs_here)
            else:
                out, ahead = channels_last(block(near.permute(0, 3, 1, 2))), None
            far, near = near, out
        return self.head(near.permute(0, 3, 1, 2))

    def drop(self, alive: Mapping[str, Tensor]) -> dict[Tensor, Tensor]:
        """Cut out the operations that `alive` (`{kind: bool (edges, ops)}`) rules out.

        Returns:
            For every parameter that shrank, which of its old numbers are left.
        """
        rows = {kind: mask.tolist() for kind, mask in alive.items()}
        kept: dict[Tensor, Tensor] = {}
        for block in self.blocks:
            if isinstance(block, PackedCell):
                kept |= block.drop(rows[block.kind])
        if self.graphs is not None:
            self.graphs.forget()
        return kept
