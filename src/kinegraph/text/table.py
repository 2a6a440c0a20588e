"""Tables of text features: what the objective `language` compares clips with. Needs no torch.

A table is one safetensors file: the features of every class's names and of its four prompts, with
the encoder that made them named in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.errors import TextError, unknown
from kinegraph.files import atomic_file

FORMAT = "kinegraph text table 1"
PARTS = ("head", "hand", "hip", "foot")  # the order of the part features
ENDING = ".safetensors"
TENSORS = ("names", "counts", "parts")


@dataclass(frozen=True)
class TextTable:
    """Text features of K classes.

    Attributes:
        names: (S, D) float16, features of the names of all classes, class by class: the name first,
            then its synonyms.
        counts: (K,) int64, how many of them each class has.
        parts: (4, K, E) float16, features of the prompts about head, hand and arm, hip, leg and
            foot. Widths D and E are the encoder's; they may differ.
        classes: The names of the classes.
        encoder: Name of the encoder.
        encoder_hash: SHA-256 of its files.
        texts_hash: SHA-256 of the texts that were encoded.
    """

    names: NDArray[np.float16]
    counts: NDArray[np.int64]
    parts: NDArray[np.float16]
    classes: tuple[str, ...]
    encoder: str
    encoder_hash: str
    texts_hash: str

    def __post_init__(self) -> None:
        classes = len(self.classes)
        whole = (
            self.names.ndim == 2
            and self.parts.ndim == 3
            and self.parts.shape[:2] == (len(PARTS), classes)
            and self.counts.shape == (classes,)
            and classes > 0
            and int(self.counts.min()) >= 1
            and int(self.counts.sum()) == len(self.names)
        )
        if not whole:
            raise TextError(
                f"a text table of {classes} classes has names {self.names.shape}, counts"
                f" {self.counts.shape} and parts {self.parts.shape}, which do not fit each other"
            )
        for tensor in (self.names, self.parts):
            if not np.isfinite(tensor).all():
                raise TextError("a text table has features that are not finite")


def save_table(table: TextTable, path: Path, *, force: bool = False) -> None:
    """Write a table.

    Raises:
        OutputError: The file exists already, and ``force`` is not set.
    """
    from safetensors.numpy import save_file

    metadata = {
        "format": FORMAT,
        "classes": json.dumps(table.classes, ensure_ascii=False),
        "encoder": table.encoder,
        "encoder_hash": table.encoder_hash,
        "texts_hash": table.texts_hash,
    }
    tensors = {name: np.ascontiguousarray(getattr(table, name)) for name in TENSORS}
    with atomic_file(path, force=force) as temporary:
        save_file(tensors, temporary, metadata)


def table_names() -> tuple[str, ...]:
    """Return the names of the tables that come with kinegraph, sorted."""
    folder = resources.files("kinegraph") / "text" / "tables"
    if not folder.is_dir():
        return ()
    return tuple(
        sorted(f.name.removesuffix(ENDING) for f in folder.iterdir() if f.name.endswith(ENDING))
    )


def load_table(name: str) -> TextTable:
    """Return a table by name, or read one from a ``.safetensors`` file.

    Raises:
        TextError: There is no such table, or the file is none.
    """
    if name.endswith(ENDING):
        return _read(Path(name), name)
    if name not in table_names():
        raise TextError(
            unknown("text table", name, table_names())
            + "; a table of your own is a .safetensors file made by: kinegraph text encode"
        )
    with resources.as_file(resources.files("kinegraph") / "text/tables" / (name + ENDING)) as path:
        return _read(path, name)


def _read(path: Path, name: str) -> TextTable:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata: Mapping[str, str] = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise TextError(
                    f"'{name}' is no text table (its format is {metadata.get('format')!r}, expected"
                    f" {FORMAT!r}); make one with: kinegraph text encode"
                )
            tensors: dict[str, Any] = {tensor: file.get_tensor(tensor) for tensor in TENSORS}
            classes: Sequence[str] = json.loads(metadata["classes"])
            return TextTable(
                **tensors,
                classes=tuple(map(str, classes)),
                encoder=metadata["encoder"],
                encoder_hash=metadata["encoder_hash"],
                texts_hash=metadata["texts_hash"],
            )
    except OSError as error:
        raise TextError(f"text table '{name}' cannot be read: {error.strerror or error}") from error
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise TextError(f"text table '{name}' is damaged: {error}") from error
