"""The forms in which recordings come: a plain dict of formats, one module for each.

``kinegraph data import FORMAT`` looks a format up here, ``predict`` and ``data check`` recognise it
by `detect_format`. To add one, write a module beside these and add its `Format` to `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kinegraph.data.clip import Clip, check_clip
from kinegraph.data.formats.ctrgcn_npz import CTRGCN_NPZ
from kinegraph.data.formats.kinetics import KINETICS
from kinegraph.data.formats.ntu import NTU60_FORMAT, NTU120_FORMAT
from kinegraph.data.formats.nw_ucla import NW_UCLA
from kinegraph.data.formats.own_arrays import ARRAYS
from kinegraph.data.formats.part_files import AIMCLR_NPY, STGCN_NPY
from kinegraph.data.formats.pku_mmd import PKU_MMD
from kinegraph.data.formats.pyskl import PYSKL
from kinegraph.data.formats.recordings import Format, Lazy, Options, Recording, Recordings
from kinegraph.data.formats.sbu import SBU
from kinegraph.data.formats.utd_mhad import UTD_MHAD
from kinegraph.errors import SourceError, unknown
from kinegraph.skeleton import Skeleton

__all__ = [
    "FORMATS", "Format", "Lazy", "Options", "Recording", "Recordings", "detect_format",
    "find_format", "open_recordings", "read_file",
]  # fmt: skip

FORMATS: dict[str, Format] = {
    format_.name: format_
    for format_ in (
        NTU60_FORMAT,
        NTU120_FORMAT,
        NW_UCLA,
        KINETICS,
        PKU_MMD,
        UTD_MHAD,
        SBU,
        CTRGCN_NPZ,
        STGCN_NPY,
        AIMCLR_NPY,
        PYSKL,
        ARRAYS,
    )
}


def find_format(name: str) -> Format:
    """Return a format by name.

    Raises:
        SourceError: There is none of this name.
    """
    if name not in FORMATS:
        raise SourceError(unknown("data format", name, FORMATS))
    return FORMATS[name]


def detect_format(path: Path) -> Format:
    """Return the format that a file, folder or archive looks like.

    Raises:
        SourceError: It does not exist or looks like none of them.
    """
    path = Path(path)
    _check_place(path)
    if not path.exists():
        raise SourceError(f"'{path}' does not exist")
    try:
        found = [format_ for format_ in FORMATS.values() if format_.matches(path)]
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror or error}") from error
    if not found:
        known = ", ".join(
            f"{format_.name} ({format_.looks})" if format_.looks else format_.name
            for format_ in FORMATS.values()
        )
        raise SourceError(f"'{path}' looks like none of the formats that can be read: {known}")
    return found[0]


@contextmanager
def open_recordings(
    path: Path,
    *,
    format_name: str | None = None,
    layout: str | None = None,
    options: Options | None = None,
) -> Iterator[Recordings]:
    """Open a source of recordings; without ``format_name`` its format is recognised.

    Args:
        path: File, folder or archive.
        format_name: A key of `FORMATS`.
        layout: Name of the layout; short for ``options`` that say nothing else.
        options: What the user says about the source.

    Raises:
        SourceError: It cannot be read, or an option means nothing to the format.
        LayoutError: No layout is known, or it does not fit.
    """
    chosen = detect_format(path) if format_name is None else find_format(format_name)
    options = Options(layout=layout) if options is None else options
    chosen.check(options)
    _check_place(Path(path))
    with chosen.open(Path(path), options) as recordings:
        yield recordings


def _check_place(path: Path) -> None:
    """Raise SourceError where one cannot even ask what lies at a path; absent ones are passed."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return  # formats know what they expect there
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # it has a NUL in it
        raise SourceError(f"'{path}' is no path: {error}") from error


def read_file(path: Path, *, layout: str | None = None) -> tuple[Clip, Skeleton]:
    """Read a file that holds one recording; return it, checked, with its layout.

    Raises:
        ClipError: The recording cannot be used.
        SourceError: The file cannot be read, or holds several recordings.
        LayoutError: No layout is known, or it does not fit.
    """
    with open_recordings(path, layout=layout) as recordings:
        if recordings.count != 1:
            raise SourceError(f"'{path}' holds {recordings.count} recordings, expected one")
        clip = recordings.items[0].read()
        check_clip(clip, recordings.skeleton)
        return clip, recordings.skeleton
