"""Raw images that stay in host memory and reach the device one batch ahead of their use."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHARE = 0.25  # of a GPU's free memory, for one loader's images: a search has two and its supernet


def fits(size: int, device: torch.device) -> bool:
    """Whether `size` bytes of images may lie on `device`; a CPU's memory is where they are."""
    return size <= SHARE * _free(device)


def _free(device: torch.device) -> float:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf


class Order:
    """Which of `count` images make a batch: endless passes, shuffled anew, cut into full batches.

    `state` is that of the random generator.  With `pass_start` and `position`, another order of
    as many images can `goto` the same place.
    """

    def __init__(self, count: int, batch_size: int, device: torch.device, state: Tensor) -> None:
        self.count, self.batch_size, self._device = count, batch_size, device
        self._generator = torch.Generator()
        self.goto(state, 0)

    def __len__(self) -> int:
        """Batches per pass."""
        return self.count // self.batch_size

    def next(self) -> Tensor:
        """The images of the next batch, `(batch_size,)`."""
        if self.position == len(self):
            self._shuffle()
        start = self.position * self.batch_size
        self.position += 1
        return self._images[start : start + self.batch_size]

    def goto(self, pass_start: Tensor, position: int) -> None:
        """Go on after `position` batches of the pass that began at generator state `pass_start`."""
        self._generator.set_state(pass_start)
        self._shuffle()
        self.position = position

    def _shuffle(self) -> None:
        self.pass_start = self._generator.get_state()
        order = torch.randperm(self.count, generator=self._generator)
        self._images = order.to(self._device)
        self.position = 0


class Stream:
    """Batches `(batch_size, channels, height, width)` of raw images, gathered on the host.

    A call hands over the batch that the call before prepared, and prepares the next: on a GPU its
    copy runs in a CUDA stream of its own, beside the step.

    Args:
        images: all of them, on the host; they are not copied as a whole.
        indices: which of them are served, `(order.count,)` on the host; None is all.
        order: the batches to come; one of its own, as it runs ahead of what was handed over.
        device: where the batches go.
    """

    def __init__(
        self, images: Tensor, indices: Tensor | None, order: Order, device: torch.device
    ) -> None:
        self._images, self._indices, self._order = images, indices, order
        shape = (order.batch_size, *images.shape[1:])
        copies = torch.cuda.Stream(device) if device.type == "cuda" else None
        # Two, so that one can be filled while the other is on its way or in use.
        self._slots = [_Slot(shape, device, copies) for _ in range(2)]
        self._ahead: _Slot | None = None

    def next(self) -> Tensor:
        """The next batch, on the device; on a CPU good until the next call."""
        slot = self._ahead or self._prepare()
        self._ahead = self._prepare()
        return slot.take()

    def goto(self, pass_start: Tensor, position: int) -> None:
        """Drop what is prepared and go on elsewhere, as `Order.goto` does."""
        self._order.goto(pass_start, position)
        self._ahead = None

    def _prepare(self) -> _Slot:
        picks = self._order.next()
        self._slots.reverse()
        slot = self._slots[0]
        slot.fill(self._images, picks if self._indices is None else self._indices[picks])
        return slot


class _Slot:
    """A staging buffer on the host; for a GPU pinned, with the copy of it that is on its way."""

    def __init__(
        self, shape: tuple[int, ...], device: torch.device, copies: torch.cuda.Stream | None
    ) -> None:
        self._buffer = torch.empty(shape, dtype=torch.uint8, pin_memory=copies is not None)
        self._device, self._copies = device, copies
        self._sent = None if copies is None else torch.cuda.Event()
        self._batch = self._buffer

    def fill(self, images: Tensor, picks: Tensor) -> None:
        """Gather the images at `picks` and send them off."""
        if self._sent is not None:
            self._sent.synchronize()  # the batch before last is in the buffer: long sent
        torch.index_select(images, 0, picks, out=self._buffer)
        if self._copies is None or self._sent is None:
            self._batch = self._buffer.to(self._device)  # itself on a CPU
            return
        with torch.cuda.stream(self._copies):
            self._batch = self._buffer.to(self._device, non_blocking=True)
            self._sent.record()

    def take(self) -> Tensor:
        """What was sent; whatever the device does next waits for it, the host does not."""
        if self._sent is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(self._sent)
            self._batch.record_stream(current)  # its memory is another stream's
        return self._batch
