"""What a zip archive may look like before anything in it is unpacked.

``members`` (files of recordings) and ``arrays`` (``.npz``) ask here. Python's ``zipfile`` does the
unpacking; this module refuses what would make it take memory or places that nobody expects.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import PurePosixPath

from kinegraph.data.limits import ALWAYS_BYTES, MAX_ARRAY_RATIO
from kinegraph.errors import KinegraphError

# What zipfile raises for archives that are damaged, encrypted or packed in an unknown way.
ARCHIVE_ERRORS = (
    OSError, EOFError, ValueError, RuntimeError, OverflowError, struct.error, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip

# zipfile unpacks deflate in bounded steps, but a whole block at once of these: 4 kB of bzip2 can
# become gigabytes, whatever size the archive declares. No data set is packed so.
METHODS = {
    zipfile.ZIP_STORED: "stored",
    zipfile.ZIP_DEFLATED: "deflate",
}


def check_place(name: str, where: str, error: type[KinegraphError]) -> None:
    """Check that the name of a member stays inside the archive.

    Args:
        name: The name as it stands in the archive (``ZipInfo.orig_filename``).
        where: Names the archive in errors.
        error: Type of the error.

    Raises:
        KinegraphError: It is absolute or leads outside.
    """
    plain = name.replace("\\", "/")
    path = PurePosixPath(plain)
    if path.is_absolute() or ".." in path.parts or plain[1:2] == ":" or "\0" in plain:
        raise error(f"{where} is refused: its member {name!r} points outside")


def check_packing(info: zipfile.ZipInfo, where: str, error: type[KinegraphError]) -> None:
    """Check that a member can be unpacked in bounded memory.

    Raises:
        KinegraphError: It is encrypted, or packed by another method than deflate.
    """
    if info.flag_bits & 1:
        raise error(f"{where}: its member {info.filename!r} is encrypted; unpack it yourself")
    if info.compress_type not in METHODS:
        raise error(
            f"{where}: its member {info.filename!r} is packed by method {info.compress_type},"
            " expected 'deflate'; unpack it yourself and name the folder"
        )


def check_sizes(info: zipfile.ZipInfo, where: str, error: type[KinegraphError]) -> None:
    """Check that a member, which is taken into memory whole, is not far larger packed than not.

    Raises:
        KinegraphError: Its packed size cannot be true.
    """
    # Deflate adds an eighth at the worst. zipfile would ask for a buffer of the declared length.
    if info.compress_size > 2 * info.file_size + 1024:
        raise error(
            f"{where} is damaged in the archive: it has {info.file_size:,} bytes, but"
            f" {info.compress_size:,} when packed"
        )


def check_ratio(info: zipfile.ZipInfo, where: str, error: type[KinegraphError]) -> None:
    """Check that an array, which is taken into memory whole, is not far larger than its packing.

    Raises:
        KinegraphError: It would unpack to implausibly much, or as `check_sizes`.
    """
    check_sizes(info, f"{where}: '{info.filename}'", error)
    if info.file_size > max(ALWAYS_BYTES, MAX_ARRAY_RATIO * info.compress_size):
        raise error(
            f"{where} is refused: {info.compress_size:,} bytes of '{info.filename}' would unpack to"
            f" {info.file_size:,}, more than {MAX_ARRAY_RATIO} times as many"
        )
