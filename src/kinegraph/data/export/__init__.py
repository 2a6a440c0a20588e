"""Writing a store as the files of the original programs, so that they can be run and compared.

``kinegraph data export`` looks a form up in `EXPORTS`. To add one, write a module beside these and
add its `Export`. Every form can be imported again, see ``formats``; what a form cannot hold is said
in its module.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from kinegraph.data.export.ctrgcn_npz import CTRGCN_NPZ
from kinegraph.data.export.part_files import AIMCLR_NPY, STGCN_NPY
from kinegraph.data.export.pyskl import PYSKL
from kinegraph.data.export.writing import Export, ExportOptions, Progress
from kinegraph.data.store import Store
from kinegraph.errors import OutputError, unknown
from kinegraph.files import atomic_file, atomic_folder

__all__ = ["EXPORTS", "Export", "ExportOptions", "export_store"]

EXPORTS: dict[str, Export] = {
    export.name: export for export in (CTRGCN_NPZ, STGCN_NPY, AIMCLR_NPY, PYSKL)
}


def export_store(
    store: Store,
    name: str,
    out: Path,
    options: ExportOptions | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Write a store in a form of the original programs; nothing is left behind on failure.

    Args:
        store: The clips.
        name: A key of `EXPORTS`.
        out: The file or folder to be made.
        options: What the user says; what is not said is as the originals have it.
        force: Whether a file, or a folder of such files, that stands at ``out`` may be replaced.
        progress: Wraps the rows to show how far it is; gets a description and their number.

    Returns:
        How many clips each part holds.

    Raises:
        OutputError: There is no such form, an option means nothing to it, the clips do not fit into
            it, or ``out`` cannot be written.
        SplitError: There is no such split.
    """
    if name not in EXPORTS:
        raise OutputError(unknown("export format", name, EXPORTS))
    export, options = EXPORTS[name], options or ExportOptions()
    export.check(options)
    out = Path(out).absolute()
    shown = progress or _silently
    if not export.folder:
        with atomic_file(out, force=force) as file:
            return export.write(store, file, options, shown, out)
    _check_folder(export, out, force=force)
    with atomic_folder(out, force=force) as folder:
        return export.write(store, folder, options, shown, out)


def _silently(items: Iterable[int], description: str, total: int) -> Iterator[int]:
    yield from items


def _check_folder(export: Export, out: Path, *, force: bool) -> None:
    """Replace a folder only if it holds nothing but what the form itself writes."""
    if force and out.is_dir():
        foreign = sorted(file.name for file in out.iterdir() if file.name not in export.files)
        if foreign:
            raise OutputError(
                f"'{out}' holds '{foreign[0]}', which is no file of '{export.name}'; --force"
                " replaces only what it would write"
            )
