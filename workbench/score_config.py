"""The settings of `workbench score`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from workbench import limits
from workbench.config import SearchConfig
from workbench.settings import ConfigError, Settings, checked, unknown

if TYPE_CHECKING:
    from workbench.data import Data
    from workbench.protocols import Proxy

NOISE = "gaussian"


class ScoreConfig(Settings):
    """Which scores, of networks of which size, on what."""

    proxy: str = Field(default="zen", description="scores, separated by commas, or all")
    data: str = Field(
        default="digits", description="digits, cifar10, cifar100, folder:PATH, or gaussian noise"
    )
    data_root: Path | None = Field(default=None, description="where CIFAR files are, or are put")
    download: bool = Field(default=True, description="whether missing CIFAR files may be fetched")
    image_size: int | None = Field(
        default=None,
        ge=1,
        le=limits.PIXELS,
        description="side of a folder's images, or of the noise, pixels",
    )
    grey: bool = Field(default=False, description="make a folder's images grey")
    skip_unreadable: bool = Field(
        default=False, description="leave out a folder's unreadable images"
    )
    channels: int = Field(
        default=16, ge=1, le=limits.CHANNELS, description="width of the first cell"
    )
    cells: int | None = Field(
        default=None,
        ge=1,
        le=limits.DEPTH,
        description="depth, 8; cells per stage of a NAS-Bench-201 cell, 5",
    )
    batch_size: int = Field(
        default=16, ge=2, le=limits.IMAGES, description="pictures that a score looks at"
    )
    repeats: int = Field(
        default=1, ge=1, le=limits.STEPS, description="new weights and pictures each time"
    )
    seed: int = Field(default=0, ge=0, le=limits.SEED, description="of weights, pictures and noise")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 …")
    threads: int = Field(
        default=1, ge=1, le=limits.THREADS, description="of the CPU; more are rarely faster"
    )

    def build_proxies(self) -> dict[str, Proxy]:
        """The scores by name.

        Raises:
            ConfigError: if there is none of a name, or one reads labels and there are none.
        """
        from workbench.zero_cost import proxies

        known = proxies.named()
        names = list(known) if self.proxy == "all" else self.proxy.split(",")
        names = list(dict.fromkeys(name.strip() for name in names))
        for name in names:
            if name not in known:
                raise ConfigError(unknown("score", name, [*known, "all"]))
        blind = [name for name in names if known[name].needs_labels]
        if blind and self.data == NOISE:
            raise ConfigError(
                f"data: {', '.join(blind)} read labels, which noise has not; choose other data, "
                "such as digits, or leave them out"
            )
        return {name: known[name] for name in names}

    def build_data(self) -> Data | None:
        """The images; None for noise alone."""
        names = ("data_root", "download", "image_size", "grey", "skip_unreadable")
        if self.data == NOISE:
            return None
        values = {name: getattr(self, name) for name in ("data", *names)}
        return checked(SearchConfig, values).build_data()
