"""One process's checkpoint for all that train together, on machines that may share no disk."""

from __future__ import annotations

import tempfile
from pathlib import Path

from kinegraph.errors import CheckpointError
from kinegraph.files import reason
from kinegraph.training.checkpoint import Checkpoint, load_checkpoint
from kinegraph.training.distributed import World


def load_shared(file: Path, world: World) -> Checkpoint:
    """Return a checkpoint that only the first process needs to have at hand.

    Raises:
        CheckpointError: It cannot be read.
    """
    data = world.spread_bytes(_content(file) if world.size > 1 and world.first else b"")
    if world.first:
        return load_checkpoint(file)
    with tempfile.TemporaryDirectory(prefix="kinegraph-") as folder:
        copy = Path(folder) / file.name
        copy.write_bytes(data)
        return load_checkpoint(copy)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint '{file}' does not exist") from error
    except OSError as error:
        raise CheckpointError(f"'{file}' is not a readable checkpoint: {reason(error)}") from error
