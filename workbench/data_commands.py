"""Commands around images: check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from workbench.limits import PIXELS, printable
from workbench.settings import ConfigError


def check(data: Annotated[str, tyro.conf.Positional], image_size: int = 32) -> None:
    """Read every image of a data set and list, file by file, what is wrong or would be changed.

    Ends with exit code 2 if a file cannot be read: a search then needs --skip-unreadable.

    Args:
        data: folder:PATH; digits, cifar10 and cifar100 are loaded, as files that are there.
        image_size: side in pixels that a search of the folder would use; decides what is small.
    """
    from workbench import data as images

    if not 1 <= image_size <= PIXELS:
        raise ConfigError(f"--image-size must be 1 to {PIXELS:,} pixels, not {image_size}")
    if not data.startswith("folder:"):
        loaded = images.load(data, download=False)
        print(f"{data}: {len(loaded.train):,} training and {len(loaded.test):,} test images")
        return
    images.check(data, size=image_size)
    top = Path(data.removeprefix("folder:")).expanduser()
    total, findings = images.inspect_folder(top, image_size)
    for found in findings:
        print(f"{found.kind:5}  {printable(str(found.path))}: {found.text}")
    errors = sum(found.kind == "error" for found in findings)
    noted = len({found.path for found in findings if found.kind == "note"})
    print(f"{total:,} files: {errors:,} cannot be read, {noted:,} are read with a note")
    if errors:
        raise images.DataError(
            f"{errors:,} of {total:,} images cannot be read. Repair or remove them, or search with "
            "`skip_unreadable`"
        )
