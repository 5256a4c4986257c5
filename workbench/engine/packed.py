"""A cell of the fast supernet: weights of all its operations in one flat array."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Literal, cast

import torch
from torch import Tensor, nn

from workbench.engine.again import recomputed_cell
from workbench.engine.batched import batched_cell
from workbench.engine.geometry import Geometry
from workbench.engine.layout import Bundle, Layout, layout
from workbench.engine.lease import Lease
from workbench.engine.preprocess import Ahead, preprocessed
from workbench.engine.statistics import Statistics
from workbench.protocols import EdgeForm
from workbench.spaces.space import Layer
from workbench.spaces.supernet import Runs, SearchCell

Kernels = Literal["cpu", "triton"]
WIDEST = 128  # channels of a cell in Triton kernels: 256² numbers are more than an H200 shares


class PackedCell(nn.Module):
    """What `SearchCell` computes, from packed weights and channels-last maps.

    Its state dict has the names and shapes of the readable cell.  The running statistics of all
    batch norms lie side by side in one.

    Args:
        cell: the readable cell; its operations' weights are copied, its preprocessing is taken.
        layer: where it stands.
        kernels: run on these in training, where there are some for all operations; None is torch's.
        recompute: keep only inputs for the backward pass.
    """

    def __init__(
        self,
        cell: SearchCell,
        layer: Layer,
        family: str,
        *,
        kernels: Kernels | None = "cpu",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.wanted: Kernels | None = kernels
        self.recompute = recompute
        self.kind, self.shape = cell.kind, cell.shape
        self.preprocess = cell.preprocess
        form = next((EdgeForm.of(edge) for edge in cell.edges), None) or EdgeForm()
        alive = [tuple(cast("nn.ModuleDict", edge.get_submodule(form.ops))) for edge in cell.edges]
        channels = layer.channels // form.k
        self.layout: Layout = layout(cell.shape, channels, layer.reduction, family, alive, form)
        like = next(cell.parameters(), torch.empty(0))
        self.weights = nn.Parameter(torch.empty(self.layout.size, dtype=like.dtype))
        self.norms = Statistics(self.layout.norms, channels)
        self.to(like.device, like.dtype)
        self._geometries: dict[tuple[int, int, int], Geometry] = {}
        self._free: list[Tensor] = []
        self._indices: dict[tuple[int, ...], Tensor] = {}
        self.load_state_dict(cell.state_dict())

    @property
    def kernels(self) -> Kernels | None:
        """Which kernels training runs on now.

        Those of ordinary convolutions on a CPU know no stride, and in vectors of one or two numbers
        torch's own are faster.  Those in Triton keep a matrix of weights in shared memory.
        """
        if self.wanted != "cpu":
            wide = self.layout.channels > WIDEST
            return None if wide or self.layout.form.is_special else self.wanted
        short = self.layout.channels % 4 != 0
        return None if self.strides or (short and self._convolutions) else "cpu"

    @property
    def strides(self) -> bool:
        """Whether an ordinary convolution does."""
        return any(bundle.stride > 1 for bundle in self._convolutions)

    @property
    def _convolutions(self) -> list[Bundle]:
        return [b for b in self.layout.bundles if b.about.does == "convolution"]

    def forward(
        self,
        inputs: Sequence[Tensor],
        rows: Tensor,
        edge_weights: Tensor | None,
        far: Tensor | None = None,
        ahead: Ahead | None = None,
        runs: Runs | None = None,
    ) -> Tensor:
        """The cell's output `(batch, height, width, c)` for mixing weights `(edges, columns)`.

        Args:
            rows: of what the layout's form puts behind candidates, too.
            far: what the preprocessing makes of the farther input, if that is known.
            ahead: gets what the next cell's makes of the nearer one, where both go in one.
            runs: which of `rows` are not 0, where only these operations are to run.
        """
        if self.training and self.layout.norms:
            self.norms.count(None if runs is None else self._ran(rows))
        if edge_weights is not None:
            rows = rows * edge_weights[:, None]
        inputs = inputs[-self.shape.inputs :]
        may = self.training and not torch.is_autocast_enabled("cpu")
        if self.preprocess:
            own = self.wanted == "cpu" and may
            first, second = self.preprocess
            far = preprocessed(first, inputs[0], kernels=own) if far is None else far
            inputs = [far, preprocessed(second, inputs[1], ahead, kernels=own)]
        cell = self if runs is None else self._running(runs)
        if self.kernels == "cpu" and may:
            from workbench.engine.fused import fused_cell

            return fused_cell(cell, inputs, rows, self.weights)
        if self.kernels == "triton" and self.training:
            from workbench.engine.gpu.cell import triton_cell

            return triton_cell(cell, inputs, rows, self.weights)
        run = recomputed_cell if self.recompute else batched_cell
        return run(cell, inputs, rows, self.weights)

    def _ran(self, rows: Tensor) -> Tensor:
        """Which batch norms do, `(norms,)`: read on the device, which nobody waits for."""
        return (rows.detach() != 0).flatten()[self.indices(self.layout.norm_rows)]

    def _running(self, runs: Runs) -> PackedCell:
        """This cell for one pass in which only these operations run: the same weights and norms."""
        left = self.layout.only(runs)
        if left is self.layout:
            return self
        cell = copy(self)
        cell.layout, cell._geometries = left, {}
        return cell

    def looks_back(self) -> Ahead | None:
        """What the cell before this one can make for it on the way, on CPU kernels."""
        return Ahead(self.preprocess[0]) if self.preprocess and self.wanted == "cpu" else None

    @contextmanager
    def untracked(self) -> Iterator[None]:
        """Within, running statistics stay as they are."""
        tracked, self.norms.track_running_stats = self.norms.track_running_stats, False
        try:
            yield
        finally:
            self.norms.track_running_stats = tracked

    def geometry(self, images: int, height: int, width: int) -> Geometry:
        """Where maps of inputs of that size lie."""
        key = (images, height, width)
        if key not in self._geometries:
            self._geometries[key] = Geometry(self.layout, *key, self._lanes)
        return self._geometries[key]

    @property
    def _lanes(self) -> int:
        if self.wanted != "cpu":
            return 1
        from workbench.engine.kernels.simd import tile_for

        return tile_for(self.weights, self.layout.channels).lanes

    def indices(self, edges: tuple[int, ...]) -> Tensor:
        """`edges` as a tensor beside the weights; made once, since making it copies to a device."""
        held = self._indices.get(edges)
        if held is None or held.device != self.weights.device:
            held = self._indices[edges] = torch.tensor(edges, device=self.weights.device)
        return held

    def borrow(self, size: int) -> Lease:
        """Memory for `size` numbers; it comes back when nobody needs it any more."""
        dtype = self.weights.dtype
        if self.recompute:  # no cell keeps what another can use meanwhile
            return Lease(torch.empty(size, dtype=dtype), [])
        fits = [x for x in self._free if x.numel() == size and x.dtype == dtype]
        self._free[:] = fits  # the same list: what is out on lease comes back to it
        tensor = self._free.pop() if self._free else torch.empty(size, dtype=dtype)
        return Lease(tensor, self._free)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Running means and variances, each `(norms, channels)`."""
        mean, var = self.norms.running_mean, self.norms.running_var
        assert mean is not None
        assert var is not None
        return mean.view(-1, self.layout.channels), var.view(-1, self.layout.channels)

    @torch.no_grad()
    def drop(self, alive: Sequence[Sequence[bool]]) -> dict[Tensor, Tensor]:
        """Cut out dead operations; `alive` is `(edges, columns)`.

        Returns:
            For every parameter that shrank, which of its old numbers are left.
        """
        old = self.layout
        held = {(edge, bundle.op) for bundle in old.bundles for edge in bundle.edges}
        column = {op: number for number, op in enumerate(self.shape.columns)}
        # In the order of an edge's candidates, as a cell that is made of what is left has them: in
        # another one the flat momenta of a saved state would be other weights'.
        left = [
            tuple(op for op in ops if (edge, op) in held and alive[edge][column[op]])
            for edge, ops in enumerate(self.shape.ops)
        ]
        new = layout(self.shape, old.channels, old.reduction, old.family, left, old.form)
        weights, norms = old.kept(new)
        weights, norms = weights.to(self.weights.device), norms.to(self.weights.device)
        mean, var = self.statistics()
        smaller = Statistics(new.norms, old.channels).to(mean)
        smaller.track_running_stats = self.norms.track_running_stats
        if new.norms:
            smaller.running_mean, smaller.running_var = mean[norms].view(-1), var[norms].view(-1)
            smaller.num_batches_tracked = self.norms.counted()[norms]
        self.norms, self.layout, self._geometries = smaller, new, {}
        self.weights.data = self.weights.data[weights]
        return {self.weights: weights}

    def _save_to_state_dict(
        self, destination: dict[str, Tensor], prefix: str, keep_vars: bool
    ) -> None:
        """Under the readable cell's names; `weights` itself is none of them."""
        packed = self.weights if keep_vars else self.weights.detach()
        for name, (start, role) in self.layout.places.items():
            size = torch.Size(role.shape).numel()
            destination[prefix + name] = role.unpack(packed[start : start + size])
        mean, var = self.statistics()
        for name, number in self.layout.norm_places.items():
            destination[f"{prefix}{name}.running_mean"] = mean[number].clone()
            destination[f"{prefix}{name}.running_var"] = var[number].clone()
            destination[f"{prefix}{name}.num_batches_tracked"] = self.norms.counted()[
                number
            ].clone()

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Tensor],
        prefix: str,
        local_metadata: Mapping[str, object],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """From the readable cell's names."""
        mean, var = self.statistics()
        fits, missing, unexpected, errors = self._fitting(state_dict, prefix)
        missing_keys += missing if strict else []
        unexpected_keys += unexpected if strict else []
        error_msgs += errors
        with torch.no_grad():
            for name, (start, role) in self.layout.places.items():
                if prefix + name in fits:
                    numbers = role.pack(state_dict[prefix + name])
                    self.weights[start : start + len(numbers)] = numbers.to(self.weights)
            for name, number in self.layout.norm_places.items():
                for part, own in (
                    ("running_mean", mean[number]),
                    ("running_var", var[number]),
                    ("num_batches_tracked", self.norms.counted()[number]),
                ):
                    if f"{prefix}{name}.{part}" in fits:
                        own.copy_(state_dict[f"{prefix}{name}.{part}"])

    def _fitting(
        self, state_dict: Mapping[str, Tensor], prefix: str
    ) -> tuple[set[str], list[str], list[str], list[str]]:
        """Names that can be loaded; those that are missing, and unknown; and wrong shapes."""
        own: dict[str, Tensor] = {}
        self._save_to_state_dict(own, prefix, False)
        missing = [name for name in own if name not in state_dict]
        here = [name for name in state_dict if name.startswith(prefix)]
        others = [name for name in here if not name.startswith(prefix + "preprocess.")]
        ours = [name for name in others if name in own]
        wrong = [name for name in ours if state_dict[name].shape != own[name].shape]
        errors = [
            f"size mismatch for {name}: {tuple(state_dict[name].shape)} in the state dict, "
            f"{tuple(own[name].shape)} here"
            for name in wrong
        ]
        unexpected = [name for name in others if name not in own]
        return set(ours) - set(wrong), missing, unexpected, errors
