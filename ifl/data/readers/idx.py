"""Reads files in the format of MNIST (IDX, gzipped), checked by md5 first.

torchvision checks what it downloads; what already lies in its folder it reads unchecked.
"""

import gzip
import hashlib
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ifl.errors import DataError

CHECKSUM = struct.Struct("<I4x")  # the end of a gzip file: CRC-32 of the content, its length


def read(path: Path, md5: str, url: str) -> np.ndarray:
    """Return the uint8 array of a gzipped IDX file.

    Args:
        md5: of the file; url: where it is published.

    Raises:
        DataError: it is missing, another one or damaged.
    """
    try:
        packed = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path.name} was looked for in {path.parent} and is not readable there; "
            f"download it from {url}, or set IFL_DATA or data.root to the folder above "
            f"{path.parent.parent.name}/{path.parent.name}"
        ) from error
    if found := _other(packed, md5):
        raise DataError(
            f"{path} has md5 {found}, expected {md5}; it is damaged or another file: "
            f"download it again from {url}"
        )
    raw = gzip.decompress(packed)
    dims = raw[3]
    sizes = struct.unpack(f">{dims}I", raw[4 : 4 + 4 * dims])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dims).reshape(sizes).copy()


def check_unpacked(folder: Path, md5: Mapping[str, str]) -> None:
    """Check the files that torchvision finds unpacked in a set's folder and reads as they are.

    Args:
        folder: above raw/; neither need exist.
        md5: of the gzipped files in raw/; beside each lies what was unpacked from it.

    Raises:
        DataError: one is not what was published, or cannot be compared with that.
    """
    raw, old = folder / "raw", folder / "processed"
    if old.exists():
        raise DataError(
            f"{old} holds the set as older versions of torchvision kept it, which cannot be "
            f"checked; remove that folder, and {raw} is read"
        )
    for name, expected in md5.items():
        packed, unpacked = raw / name, raw / Path(name).stem
        if not unpacked.exists():
            continue  # torchvision unpacks it, or downloads it first
        try:
            content = packed.read_bytes()
        except OSError as error:
            raise DataError(
                f"{unpacked} cannot be checked without {name} beside it; put that there, or "
                "remove the file to have it downloaded again"
            ) from error
        if found := _other(content, expected):
            raise DataError(
                f"{packed} has md5 {found}, expected {expected}; it is damaged or another file: "
                f"remove it and {unpacked.name} to have it downloaded again"
            )
        if zlib.crc32(unpacked.read_bytes()) != CHECKSUM.unpack(content[-CHECKSUM.size :])[0]:
            raise DataError(
                f"{unpacked} is not what {name} holds, but damaged or another file; remove it "
                "to have it unpacked again"
            )


def _other(content: bytes, md5: str) -> str | None:
    """Return the md5 of the content if it is another one."""
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return None if found == md5 else found
