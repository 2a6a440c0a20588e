"""The list of transforms of a recipe, made ready for one layout, and the stream at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, cast

import torch
from torch import Tensor

from kinegraph.errors import RecipeError
from kinegraph.registry import Config
from kinegraph.skeleton import Skeleton
from kinegraph.transforms import TRANSFORMS, check_stream
from kinegraph.transforms.normalise import Centre
from kinegraph.transforms.random import ClipRandom
from kinegraph.transforms.streams import make_stream
from kinegraph.transforms.tracks import FixedTracks, RaggedTracks, waits_for_nothing

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
        half: Whether joints are rounded to float16 once they have been centred.

    Attributes:
        centre: The ``centre`` that the list begins with, which depends on nothing random: a store
            may be centred once for all epochs, see `centred`. None if it begins otherwise.
        length: T, frames after sampling.
        whole: Whether transforms besides `centre` work on whole clips.

    Raises:
        RecipeError: The list has not exactly one sampling transform, or a wrong order, or does not
            begin with ``centre`` although joints are to be rounded.
    """

    def __init__(
        self,
        configs: Sequence[Config],
        stream: str,
        skeleton: Skeleton,
        *,
        original: bool = False,
        half: bool = False,
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
        first: object = self.transforms[0]
        self.centre = first if isinstance(first, Centre) else None
        if half and self.centre is None:
            raise RecipeError(
                f"data.precision float16 needs transforms that begin with 'centre', found"
                f" {self.names}: far from the centre float16 is too coarse; use float32"
            )
        self.half = half
        self.original = original
        # A plug-in's sampling transform may not tell its length; nothing but memory depends on it.
        self.length = int(getattr(self.transforms[stages.index("sample")], "length", 64))
        self.whole = stages.count("clip") > (self.centre is not None)

    def centred(self, tracks: RaggedTracks) -> RaggedTracks:
        """Return compacted tracks as the leading ``centre`` leaves them, float16 if so wanted.

        Raises:
            RecipeError: A coordinate is too large for float16.
        """
        assert self.centre is not None
        tracks = replace(self.centre.apply(tracks.compact(), {}), centred=True)
        if not self.half:
            return tracks
        rounded = tracks.joints.to(torch.float16)
        if waits_for_nothing(rounded) and not bool(rounded.isfinite().all()):
            raise RecipeError(
                "data.precision float16 reaches to 65504, but a joint is farther than that from"
                " the centre of its clip: use data.precision float32"
            )
        return replace(tracks, joints=rounded)

    def _begin(self, tracks: RaggedTracks) -> tuple[int, RaggedTracks]:
        """Return the number of the first transform that is still to be applied, and to what."""
        assert self.centre is not None or not tracks.centred
        if self.centre is not None and not tracks.centred:
            tracks = self.centred(tracks)
        return int(tracks.centred), tracks.compact() if self.whole else tracks

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
            tracks: Whole clips, as they are in the store or `centred` already.
            seed: Seed of the run.
            epoch: Epoch, or (N,) one for each clip.
            index: (N,) rows of the clips in the store.
            view: Number of the view.
            replay: For each transform stored draws to use instead of fresh ones, or None.
        """
        current: RaggedTracks | FixedTracks
        begin, current = self._begin(tracks)
        random = ClipRandom(seed, epoch, index, view=view)
        for position, transform in enumerate(self.transforms[begin:], start=begin):
            draws = replay[position] if replay is not None else None
            if draws is None:
                draws = transform.draw(random.for_purpose(position), current)
            current = transform.apply(current, draws)
        fixed = cast(FixedTracks, current)
        made = make_stream(fixed.joints, fixed.skeleton, self.stream, original=self.original)
        return replace(fixed, joints=made)
