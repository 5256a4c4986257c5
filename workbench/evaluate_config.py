"""Settings of an evaluation phase."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from workbench import limits
from workbench.settings import Settings

if TYPE_CHECKING:
    from workbench.evaluate import Recipe


class EvaluateConfig(Settings):
    """Settings of an evaluation phase.  What is left out is as the recipe says."""

    recipe: Literal["auto", "digits", "cifar"] = Field(
        default="auto", description="auto: cifar for CIFAR, else digits"
    )
    data: str | None = Field(
        default=None,
        description="pictures of a search made in Python, which holds no settings, as in search",
    )
    channels: int | None = Field(
        default=None, ge=1, le=limits.CHANNELS, description="width of the first cell"
    )
    cells: int | None = Field(
        default=None, ge=1, le=limits.DEPTH, description="depth; cells per stage in nasbench201"
    )
    epochs: int | None = Field(
        default=None, ge=1, le=limits.EPOCHS, description="epochs of training from scratch"
    )
    batch_size: int | None = Field(
        default=None, ge=2, le=limits.IMAGES, description="images of a batch"
    )
    lr: float | None = Field(default=None, gt=0, le=limits.REAL, description="first learning rate")
    four_layer_head: bool = Field(
        default=False, description="four fully connected layers (paper A)"
    )
    seed: int = Field(default=0, ge=0, le=limits.SEED, description="of weights and batches")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 …")
    threads: int = Field(
        default=1, ge=1, le=limits.THREADS, description="of the CPU; more are rarely faster"
    )

    def build_recipe(self, data: str, *, auxiliary: bool = True) -> Recipe:
        """The recipe for images of that name; `auxiliary=False` drops the second classifier."""
        from workbench.evaluate import CIFAR, DIGITS, FOUR_LAYER_HEAD

        name = self.recipe
        if name == "auto":
            name = "cifar" if data.startswith("cifar") else "digits"
        recipe = {"digits": DIGITS, "cifar": CIFAR}[name]
        given = ("channels", "cells", "epochs", "batch_size", "lr")
        changes = {key: getattr(self, key) for key in given if getattr(self, key) is not None}
        if self.four_layer_head:
            changes["hidden"] = FOUR_LAYER_HEAD
        if not auxiliary:
            changes["auxiliary"] = 0.0
        return replace(recipe, **changes)
