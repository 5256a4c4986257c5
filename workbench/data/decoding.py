"""One image file: its pixels, or why it has none, and what about it was changed.

Errors, which stop a search unless `skip_unreadable`: a file that cannot be opened, a link to
nothing, a folder or a pipe, 0 bytes, bytes of no format in `FORMATS`, a truncated or damaged image,
32 bits a channel, more than `MOST_BYTES`, and more than twice `Image.MAX_IMAGE_PIXELS` pixels (a
decompression bomb).

Notes, which are told while the image is used: a suffix that names another format than the bytes;
16 bits a channel (the upper 8 are kept); CMYK (converted to RGB without its colour profile);
transparency (dropped: what lies under it shows); several frames (the first is read); a centre
square of 1 pixel, or of less than 1/8 of the side that is asked for (each of its pixels becomes a
block of more than 8x8, so that under 1/64 of the pixels are information); more than
`Image.MAX_IMAGE_PIXELS` pixels (Pillow's first limit, which is a warning there too).

Only `FORMATS` are tried: Pillow would hand others, such as EPS, to another program.
"""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM")  # MPO is opened as JPEG
SUFFIXES: dict[str, tuple[str, ...]] = {
    ".png": ("PNG",), ".jpg": ("JPEG", "MPO"), ".jpeg": ("JPEG", "MPO"), ".bmp": ("BMP", "DIB"),
    ".gif": ("GIF",), ".tif": ("TIFF",), ".tiff": ("TIFF",), ".webp": ("WEBP",), ".ppm": ("PPM",),
    ".pgm": ("PPM",),
}  # fmt: skip
MOST_BYTES = 2**30  # of one file; 8 bits of the most pixels that are read take half of that
SMALL_SHARE = 8  # an image is small below this share of the side that is asked for
_DAMAGED = (  # what Pillow raises on damaged files
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)


class Decoded(NamedTuple):
    """What became of a file.

    Args:
        pixels: uint8 `(1 or 3, size, size)`; None if it has none.
        error: why it has none, or the empty text.
        notes: what about it was changed.
        digest: of its bytes, 16 bytes; none of a file that could not be opened.
    """

    pixels: Tensor | None
    error: str = ""
    notes: tuple[str, ...] = ()
    digest: bytes = b""


def decode(path: Path, *, size: int, grey: bool) -> Decoded:
    """The centre square of an image as `size` x `size` pixels, or why not."""
    try:
        content = _bytes(path)
    except OSError as error:
        return Decoded(None, f"cannot be opened ({error.strerror or error})")
    except ValueError as error:
        return Decoded(None, str(error))
    digest = hashlib.blake2b(content, digest_size=16).digest()
    try:
        pixels, notes = _pixels(content, path.suffix.lower(), size, grey)
    except UnidentifiedImageError:
        known = ", ".join(name for name in FORMATS if name != "DIB")
        return Decoded(None, f"no image: its bytes are none of {known}", (), digest)
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        return Decoded(None, f"a decompression bomb: more than {most:,} pixels", (), digest)
    except _Unusable as error:
        return Decoded(None, str(error), (), digest)
    except _DAMAGED as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Decoded(None, f"truncated or damaged ({reason})", (), digest)
    return Decoded(pixels, "", notes, digest)


class _Unusable(Exception):
    """An image that is whole, and of a kind that is not read."""


def _bytes(path: Path) -> bytes:
    if path.is_symlink() and not path.exists():
        raise ValueError(f"a link to nothing ({path.readlink()})")
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):  # a pipe would wait for ever
        raise ValueError("a folder" if path.is_dir() else "no plain file")
    count = about.st_size
    if not count:
        raise ValueError("empty (0 bytes)")
    if count > MOST_BYTES:
        raise ValueError(f"too large ({count:,} bytes; at most {MOST_BYTES:,} are read)")
    return path.read_bytes()


def _pixels(content: bytes, suffix: str, size: int, grey: bool) -> tuple[Tensor, tuple[str, ...]]:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        notes = tuple(_notes(image, suffix, size))
        image.draft(None, (2 * size, 2 * size))  # JPEG decodes large photos at a coarser scale
        small = ImageOps.fit(_eight_bit(image, grey), (size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(small))
    return (pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)), notes


def _notes(image: Image.Image, suffix: str, size: int) -> list[str]:
    """What is changed of an image that was opened and not yet decoded."""
    found, side = [], min(image.size)
    if image.format not in SUFFIXES.get(suffix, (image.format,)):
        found.append(f"mislabelled: named {suffix}, its bytes are {image.format}")
    if image.mode.startswith("I;16") or ";16" in str(getattr(image, "tile", "")):
        found.append("16 bits a channel: the upper 8 are kept")
    if image.mode == "CMYK":
        found.append("CMYK: converted to RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        found.append("transparency: dropped")
    if getattr(image, "is_animated", False):
        found.append("several frames: the first is read")
    if side == 1 or side * SMALL_SHARE < size:
        found.append(f"small: {image.width}x{image.height} pixels become {size}x{size}")
    if image.width * image.height > (Image.MAX_IMAGE_PIXELS or 0):
        found.append(f"large: {image.width * image.height:,} pixels")
    return found


def _eight_bit(image: Image.Image, grey: bool) -> Image.Image:
    """`image` upright, as grey `L` or as `RGB`."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise _Unusable(f"pixels of mode {image.mode} have no known range; save it as 8 bit")
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    return image.convert("L" if grey or image.mode in ("1", "L", "LA", "La") else "RGB")
