"""The predictor: a trained run, ready to name the action in recordings.

It puts clips through the run's own test transforms and stream, as ``kinegraph test`` does, but
needs no store, labels or split. It knows clips, not files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kinegraph.data.clip import Clip, Track, check_clip
from kinegraph.data.copied_person import copies_a_lone_person, with_copied_person
from kinegraph.errors import ClipError, LayoutError
from kinegraph.layout_mapping import JointMap, map_joints
from kinegraph.skeleton import Skeleton
from kinegraph.training.checkpoint import Checkpoint, load_checkpoint
from kinegraph.training.execution import scoring_type
from kinegraph.training.run_folder import find_checkpoint
from kinegraph.training.setup import build_pipelines, choose_device
from kinegraph.transforms.tracks import RaggedTracks


@dataclass(frozen=True)
class Prediction:
    """What a network thinks of one clip.

    Attributes:
        name: Name of the clip.
        labels: All class names, the most probable first.
        probabilities: Their probabilities in the same order; together 1.
    """

    name: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]


class Predictor:
    """A trained objective with the transforms that it was tested with.

    Args:
        checkpoint: The trained run.
        where: What names it in messages.
        device: ``cpu``, ``cuda``, ...; ``auto`` takes an accelerator if there is one.

    Attributes:
        skeleton: The layout that the network sees; recordings must have it, unless the run has
            ``data.as_layout``: then those of other layouts are brought over, as in training.
        class_names: Names of the classes, in label order.
        persons: M, person slots of the network; people in higher slots are left out, as in testing.

    Raises:
        CheckpointError: The weights do not fit the recipe.
        TrainingError: The device is not there.
    """

    def __init__(self, checkpoint: Checkpoint, *, where: str, device: str = "cpu") -> None:
        self.where = where
        self.recipe = checkpoint.recipe
        self.skeleton = checkpoint.skeleton
        self.class_names = checkpoint.class_names
        self.persons = checkpoint.persons
        self._device = choose_device(device)
        self._autocast = scoring_type(checkpoint, self._device)
        self._objective = checkpoint.build().to(self._device).freeze()
        self._pipeline = build_pipelines(self.recipe, self.skeleton)["test"]

    @classmethod
    def from_run(cls, path: Path | str, *, device: str = "cpu") -> Predictor:
        """Load a run folder (its selected checkpoint) or a checkpoint.

        Raises:
            CheckpointError: There is none, or it cannot be read.
            TrainingError: The device is not there.
        """
        file = find_checkpoint(Path(path))
        return cls(load_checkpoint(file), where=str(path), device=device)

    def joint_map(self, skeleton: Skeleton, *, where: str = "the recordings") -> JointMap | None:
        """Return how recordings of a layout are brought to that of the network; None: they fit.

        Raises:
            LayoutError: They do not fit and are not to be brought over, or cannot; both are named.
        """
        own = self.skeleton
        difference = own.difference(skeleton)
        if self.recipe.data.as_layout is not None:
            try:
                return map_joints(skeleton, own) if difference else None
            except LayoutError as error:
                raise LayoutError(f"{where}: {error}") from error
        if skeleton.name != own.name or difference:
            hint = ""
            if skeleton.name == own.name:
                hint = f": their {difference} differ (were bodies made people by one --cleaning?)"
            raise LayoutError(
                f"{where}: layout {_describe(skeleton)} does not fit '{self.where}', which was"
                f" trained on layout {_describe(own)}{hint}"
            )
        return None

    def bring(self, clip: Clip, skeleton: Skeleton) -> Clip:
        """Return a clip of a layout as the network sees it.

        Raises:
            LayoutError: As `joint_map`.
            ClipError: It is empty, not finite or of another shape.
        """
        joint_map = self.joint_map(skeleton)
        if joint_map is None:
            return clip
        check_clip(clip, skeleton)
        index = list(joint_map.index)
        tracks = tuple(replace(track, joints=track.joints[:, index]) for track in clip.tracks)
        return replace(clip, tracks=tracks)

    def predict(
        self, clips: Sequence[Clip], skeleton: Skeleton, *, batch_size: int = 64
    ) -> list[Prediction]:
        """Name the action in each clip.

        Args:
            clips: Recordings with 1 to any number of people and frames.
            skeleton: Their layout.
            batch_size: Clips at a time; changes no result beyond rounding.

        Raises:
            LayoutError: The layout is not that of the network.
            ClipError: A clip is empty, not finite or of another shape.
        """
        logits = self.logits(clips, skeleton, batch_size=batch_size)
        predictions = []
        for clip, row in zip(clips, logits, strict=True):
            likely = np.exp(row - row.max())
            likely /= likely.sum()
            order = np.argsort(-likely, kind="stable")
            predictions.append(
                Prediction(
                    name=clip.name,
                    labels=tuple(self.class_names[label] for label in order),
                    probabilities=tuple(float(likely[label]) for label in order),
                )
            )
        return predictions

    @torch.no_grad()
    def logits(
        self, clips: Sequence[Clip], skeleton: Skeleton, *, batch_size: int = 64
    ) -> NDArray[np.float64]:
        """Return the (clips, classes) scores before the softmax; otherwise as `predict`."""
        self.joint_map(skeleton)  # also where there are no clips
        parts = [np.zeros((0, len(self.class_names)))]
        for begin in range(0, len(clips), batch_size):
            batch = [self.bring(clip, skeleton) for clip in clips[begin : begin + batch_size]]
            tracks = self._tracks(batch)
            # Draws, where a recipe's test transforms make any, are those of a store's first clip,
            # so that a recording's result does not depend on what is predicted beside it.
            first = torch.zeros(len(tracks.frames), dtype=torch.int64)
            fixed = self._pipeline(tracks, seed=self.recipe.seed, epoch=0, index=first)
            x, present = fixed.dense().to(self._device), fixed.present().to(self._device)
            with torch.autocast(
                self._device.type, dtype=self._autocast, enabled=self._autocast is not None
            ):
                logits = self._objective.logits(x, present)
            parts.append(logits.double().cpu().numpy())
        return np.concatenate(parts)

    def check_clip(self, clip: Clip) -> None:
        """Refuse a clip that cannot be used.

        Raises:
            ClipError: It is empty, not finite, of another shape, or has nobody in the slots that
                the network looks at.
        """
        check_clip(clip, self.skeleton)
        if all(track.person >= self.persons for track in clip.tracks):
            raise ClipError(
                f"clip '{clip.name}': all its people have slots above {self.persons - 1}, but"
                f" '{self.where}' looks at {self.persons}"
            )

    def _tracks(self, clips: Sequence[Clip]) -> RaggedTracks:
        """Lay the people of some clips one after the other, as a store does."""
        people: list[tuple[int, Track]] = []
        if self.recipe.original and copies_a_lone_person(self.class_names):
            clips = [with_copied_person(clip) for clip in clips]
        for row, clip in enumerate(clips):
            self.check_clip(clip)
            chosen = [track for track in clip.tracks if track.person < self.persons]
            people += [(row, track) for track in sorted(chosen, key=_slot)]
        joints = np.concatenate([np.asarray(t.joints, dtype=np.float32) for _, t in people])
        length = torch.tensor([len(track.joints) for _, track in people])
        return RaggedTracks(
            joints=torch.from_numpy(joints),
            offset=torch.cumsum(length, 0) - length,
            length=length,
            first=torch.tensor([track.first for _, track in people]),
            clip=torch.tensor([row for row, _ in people]),
            person=torch.tensor([track.person for _, track in people]),
            frames=torch.tensor([self._frames(clip) for clip in clips]),
            persons=self.persons,
            skeleton=self.skeleton,
            image=torch.tensor(
                [[clip.extras.get(side, np.nan) for side in ("width", "height")] for clip in clips]
            ),
        )

    def _frames(self, clip: Clip) -> int:
        """Length of a clip; with ``quirks: original`` only its frames that do not sum to zero."""
        if not self.recipe.original:
            return clip.frames
        sums = np.zeros(clip.frames)
        for track in clip.tracks:
            joints = np.asarray(track.joints, dtype=np.float32).astype(np.float64)
            sums[track.first : track.first + len(joints)] += joints.sum((1, 2))
        return max(int(np.count_nonzero(sums)), 1)


def _slot(track: Track) -> int:
    return track.person


def _describe(skeleton: Skeleton) -> str:
    coordinates = ", ".join(skeleton.coordinates.axes)
    return f"'{skeleton.name}' ({skeleton.joint_count} joints of {coordinates})"
