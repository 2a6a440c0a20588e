"""The list of transforms of a recipe, made ready for one layout, and the stream at its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from torch import Tensor

from kinegraph.errors import RecipeError
from kinegraph.registry import Config
from kinegraph.skeleton import Skeleton
from kinegraph.transforms import TRANSFORMS, check_stream
from kinegraph.transforms.random import ClipRandom
from kinegraph.transforms.streams import make_stream
from kinegraph.transforms.tracks import FixedTracks, RaggedTracks

Draws = dict[str, Tensor]
_ORDER = {"clip": 0, "sample": 1, "batch": 2}


class Transform(Protocol):
    """Draws its parameters for a batch of clips, then applies them.

    ``stage`` is ``clip`` (whole ragged clips in and out), ``sample`` (ragged in, fixed out) or
    ``batch`` (fixed in and out).
    """

    @property
    def stage(self) -> str:
        """What the transform works on."""

    def draw(self, random: ClipRandom, tracks: RaggedTracks | FixedTracks) -> Draws:
        """Draw parameters, one row for each clip."""

    def apply(self, tracks: RaggedTracks | FixedTracks, draws: Draws) -> RaggedTracks | FixedTracks:
        """Apply drawn parameters."""


class Pipeline:
    """Transforms in order, then the stream.

    Args:
        configs: The recipe's list.
        stream: Name of the stream.
        skeleton: Layout of the joints.
        original: Whether ``quirks: original`` is set.

    Raises:
        RecipeError: The list has not exactly one sampling transform, or a wrong order.
    """

    def __init__(
        self, configs: Sequence[Config], stream: str, skeleton: Skeleton, *, original: bool = False
    ) -> None:
        self.names = [str(config.name) for config in configs]  # type: ignore[attr-defined]
        self.stream = check_stream(stream)
        self.transforms: list[Transform] = [
            TRANSFORMS[name].build(config, skeleton, original)
            for name, config in zip(self.names, configs, strict=True)
        ]
        stages = [transform.stage for transform in self.transforms]
        if stages.count("sample") != 1:
            raise RecipeError(
                f"transforms {self.names} need exactly one that samples frames"
                " (crop_resize, pick_frames or window)"
            )
        if sorted(stages, key=_ORDER.__getitem__) != stages:
            raise RecipeError(
                f"transforms {self.names} are out of order: whole-clip ones come before the"
                " sampling one, the others after it"
            )

    def __call__(
        self,
        tracks: RaggedTracks,
        *,
        seed: int,
        epoch: int | Tensor,
        index: Tensor,
        view: int = 0,
        replay: Sequence[Draws | None] | None = None,
    ) -> FixedTracks:
        """Return the sampled, augmented stream of a batch.

        Args:
            tracks: Whole clips.
            seed: Seed of the run.
            epoch: Epoch, or (N,) one for each clip.
            index: (N,) rows of the clips in the store.
            view: Number of the view.
            replay: For each transform stored draws to use instead of fresh ones, or None.
        """
        current: RaggedTracks | FixedTracks = tracks
        if self.transforms[0].stage == "clip":
            current = tracks.compact()
        random = ClipRandom(seed, epoch, index, view=view)
        for position, transform in enumerate(self.transforms):
            draws = replay[position] if replay is not None else None
            if draws is None:
                draws = transform.draw(random.for_purpose(position), current)
            current = transform.apply(current, draws)
        fixed = cast(FixedTracks, current)
        joints = make_stream(fixed.joints, fixed.skeleton, self.stream)
        return FixedTracks(
            joints=joints,
            clip=fixed.clip,
            person=fixed.person,
            clips=fixed.clips,
            persons=fixed.persons,
            skeleton=fixed.skeleton,
        )
