"""Recordings that lie on the device: the whole store is copied there once, centred if it can be.

Where they do not fit they stay on the host (`TrackReader` over a memory map); a loader works on
either and gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kinegraph.data.reader import TrackReader
from kinegraph.errors import TrainingError
from kinegraph.transforms.pipeline import Pipeline

LARGEST_SHARE = 0.5  # of the free memory, that recordings take where nobody asked for them
CLIPS_AT_ONCE = 2048  # that are read, centred and copied together


def choose_reader(
    reader: TrackReader, pipelines: Sequence[Pipeline], device: torch.device, place: str
) -> TrackReader:
    """Return the reader that a run's loaders use: on the device if it is wanted there and fits.

    Recordings can lie on CUDA devices; for any other device they stay on the host.

    Args:
        reader: Tracks on the host.
        pipelines: The transforms of every view.
        device: Where the run computes.
        place: ``auto``, ``device`` or ``host``, as in ``data.place``.

    Raises:
        TrainingError: They are wanted on the device, which has not enough free memory.
    """
    if device.type != "cuda" or place == "host":
        return reader
    free, _ = torch.cuda.mem_get_info(device)
    needed = resident_bytes(reader, pipelines)
    return make_resident(reader, pipelines, device) if fits(needed, free, place) else reader


def fits(needed: int, free: int, place: str) -> bool:
    """Return whether recordings of ``needed`` bytes go to a device with ``free`` bytes.

    Raises:
        TrainingError: They are wanted there (``place`` is ``device``) but take more than is free.
    """
    if place != "device":
        return needed <= LARGEST_SHARE * free
    if needed > free:
        raise TrainingError(
            f"data.place device: the recordings take {needed / 1e9:.1f} GB and the device has"
            f" {free / 1e9:.1f} GB free; use data.place host, or data.precision float16"
        )
    return True


def resident_bytes(reader: TrackReader, pipelines: Sequence[Pipeline]) -> int:
    """Return how much memory the recordings take on a device."""
    joints, channels = reader.row_shape
    return reader.total * joints * channels * _stored_type(reader, pipelines).itemsize


@torch.no_grad()
def make_resident(
    reader: TrackReader, pipelines: Sequence[Pipeline], device: torch.device
) -> TrackReader:
    """Return a reader of the same clips whose joints lie on a device.

    If every view begins with the same ``centre``, the clips are stored as it leaves them, and the
    pipelines do not apply it again: it draws nothing, so once is as good as every time. This is
    also what makes float16 sound: its resolution is then spent on the body (0.25 mm within half a
    metre to a metre of the centre, 0.5 mm to two metres, 1 mm to four) and not on the distance to
    the camera.

    Raises:
        RecipeError: A coordinate is too large for float16 (``data.precision``).
    """
    shared = shared_centre(pipelines)
    stored = torch.empty(
        (reader.total, *reader.row_shape),
        dtype=_stored_type(reader, pipelines),
        device=device,
    )
    filled = 0
    for begin in range(0, len(reader), CLIPS_AT_ONCE):
        tracks = reader.read(torch.arange(begin, min(begin + CLIPS_AT_ONCE, len(reader))))
        tracks = shared.centred(tracks) if shared is not None else tracks.compact()
        stored[filled : filled + len(tracks.joints)] = tracks.joints.to(stored.dtype).to(device)
        filled += len(tracks.joints)
    return reader.over(stored, centred=shared is not None)


def shared_centre(pipelines: Sequence[Pipeline]) -> Pipeline | None:
    """Return a pipeline whose ``centred`` stands for that of all of them, if there is one."""
    first = pipelines[0]
    same = all((other.centre, other.half) == (first.centre, first.half) for other in pipelines)
    return first if same and first.centre is not None else None


def _stored_type(reader: TrackReader, pipelines: Sequence[Pipeline]) -> torch.dtype:
    shared = shared_centre(pipelines)
    if shared is None:
        return reader.joints.dtype  # as they are in the store
    return torch.float16 if shared.half else torch.float32
