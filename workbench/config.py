"""One typed config: the command line, YAML files and notebook parameters are all this."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workbench.errors import OutOfMemory, is_out_of_memory
from workbench.search_settings import SearchSettings
from workbench.settings import ConfigError

if TYPE_CHECKING:
    from workbench.data import Data
    from workbench.engine import Machine
    from workbench.method import Method
    from workbench.protocols import Probe
    from workbench.spaces.space import Space
    from workbench.trace.checkpoints import Checkpointing
    from workbench.walk import Walk

# What may be another one when a search goes on: nothing of it is science or the form of the state.
MACHINE_SETTINGS = (
    "device", "threads", "kernel_threads", "recompute", "compile", "graphs", "fused",
    "checkpoint_steps", "checkpoint_minutes",
)  # fmt: skip


class SearchConfig(SearchSettings):
    """Settings of a search.  What is left out is as the method's paper says."""

    def build_probes(self) -> tuple[Probe, ...]:
        """What measures the search.

        Raises:
            ConfigError: if nothing is to be measured every so many steps.
        """
        from workbench.probes import chosen

        if self.probes is None and self.probe_every is not None:
            raise ConfigError("probe_every: needs probes to measure; name some, or leave it out")
        return () if self.probes is None else chosen(self.probes, self.probe_every)

    def build_method(self) -> Method | Walk:
        """The method with these settings in it.

        Raises:
            ConfigError: if a setting is none of this method's.
        """
        from workbench.method_settings import method_of

        return method_of(self)

    def build_space(self) -> Space:
        """The search space at this width and depth."""
        from workbench.spaces.named import named

        return named(self.space, channels=self.channels, cells=self.cells, nodes=self.nodes)

    def check_data(self) -> None:
        """Whether there are such images, before any is read.

        Raises:
            ConfigError: if the name is unknown, the folder missing, or a setting a folder's only.
        """
        from workbench.data import DataError, check

        try:
            check(
                self.data,
                size=self.image_size,
                grey=self.grey,
                skip_unreadable=self.skip_unreadable,
            )
        except DataError as error:
            raise ConfigError(f"data: {error}") from error

    def build_data(self) -> Data:
        """The images."""
        from workbench.data import DataError, load

        try:
            data = load(
                self.data,
                root=self.data_root,
                download=self.download,
                size=self.image_size,
                grey=self.grey,
                skip_unreadable=self.skip_unreadable,
            )
        except DataError as error:
            raise ConfigError(f"data: {error}") from error
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"out of host memory at reading the images of {self.data}, all of which are held. "
                "Lower image_size, set grey, or take fewer of them"
            ) from error
        return replace(data, augment=replace(data.augment, noise=self.noise))

    def checkpointing(self) -> Checkpointing:
        """When its state is saved."""
        from workbench.trace.checkpoints import Checkpointing

        return Checkpointing(self.checkpoint_steps, self.checkpoint_minutes)

    def build_machine(self) -> Machine:
        """Where it runs."""
        from workbench.engine import Machine

        return Machine(
            self.device,
            self.precision,
            self.threads,
            engine=self.engine,
            recompute=self.recompute,
            compile=self.compile,
            graphs=self.graphs,
            deterministic=self.deterministic,
            kernel_threads=self.kernel_threads,
            fused=self.fused,
        )
