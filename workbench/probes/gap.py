"""What the supernet loses when it becomes the genotype: the discretisation gap."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.protocols import Bilevel, Mixture, Mixtures, View
from workbench.spaces.genotype import Genotype
from workbench.spaces.space import Space


@dataclass(frozen=True)
class DiscretisationGap:
    """Held-out loss and accuracy of the supernet as it is mixed, and masked to its genotype.

    Both at the weights of the moment.  Masked, the operations of the genotype that would be
    derived now weigh 1 and all others exactly 0, and edge weights are dropped; nothing is trained
    anew.  The gap is the difference: 0 where every edge has one operation left, of weight 1.
    Costs two passes over the held-out images, or the training images where nothing is held out.

    The claim that pruning to exact zeros closes it: paper B, doi:10.54503/2579-2903-2022.1-203.
    """

    def __call__(self, view: View, bilevel: Bilevel) -> dict[str, Tensor]:
        """`accuracy_supernet`, `accuracy_masked` in [0, 1]; `loss_supernet`, `loss_masked` (nats).

        The accuracies are of the images, statistics of batch norms those of each batch.
        """
        trial = view.trial
        if trial is None:
            return {}
        forms = {"supernet": view.mix, "masked": masked(view.space, trial.genotype(), view.mix)}
        return {
            f"{what}_{form}": torch.tensor(value, dtype=torch.float64)
            for form, mixtures in forms.items()
            for what, value in trial.evaluate(mixtures).items()
        }


def masked(space: Space, genotype: Genotype, like: Mixtures) -> dict[str, Mixture]:
    """Mixing weights under which a supernet of `space` computes `genotype`: 1 or exactly 0.

    Args:
        like: mixing weights with the device and number format that is wanted.
    """
    out = {}
    for cell in space.cells:
        rows = torch.zeros_like(like[cell.kind].ops)
        for gene in genotype.cell(cell.kind).genes:
            rows[cell.edges.index((gene.src, gene.dst)), cell.columns.index(gene.op)] = 1.0
        out[cell.kind] = Mixture(rows)
    return out
