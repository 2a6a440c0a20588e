"""What every objective offers the training loop, the tester and the predictor."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from kinegraph.batch import Batch
from kinegraph.nn.persons import Rows


class Objective(nn.Module):
    """Owns one or more backbones and heads, and turns batches into a loss.

    Attributes:
        views: The views of each clip that `forward` takes, by the names the recipe gives them.
        alike: Two of them whose features training brings together, if there are such: how near
            they are is then watched.
        classifies: Whether there are classes, and `logits` of them. Without, `embed` is all that
            tests can use, and its features are what is watched while a run goes on.
        makes_streams: Whether it makes its streams itself, of joints.
        training_only: Beginnings of the names of weights that only going on with training needs:
            the checkpoint of the best epoch lacks them, and tests pass them over.
    """

    views: tuple[str, ...] = ("train",)
    alike: tuple[str, str] | None = None
    classifies: bool = True
    makes_streams: bool = False
    training_only: tuple[str, ...] = ()

    def forward(self, *batches: Batch) -> dict[str, Tensor]:
        """Return the scalar ``loss`` and its named parts, all of them tensors on the device."""
        raise TypeError("Objective is a base class: use one of its methods")

    def logits(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """Score clips: (N, C, T, V, M) and (N, M) or rows -> (N, classes)."""
        raise TypeError("Objective is a base class: use one of its methods")

    def embed(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        """Describe clips by a feature: (N, C, T, V, M) and (N, M) or rows -> (N, F)."""
        raise TypeError("Objective is a base class: use one of its methods")

    def freeze(self) -> Objective:
        """Return a copy for `logits` and `embed` alone, in eval mode and without gradients.

        It answers as this objective does in eval mode, but for rounding. Objectives override it
        to freeze their backbones, see `Backbone.freeze`.
        """
        return copy.deepcopy(self).eval().requires_grad_(False)

    def begin_epoch(self, epoch: int) -> None:
        """Called before the first step of an epoch, counted from 0, and where a run goes on.

        What changes at an epoch has to be a number in a buffer: a step that is recorded or compiled
        reads that anew, and nothing else.
        """

    def check_classes(self, names: Sequence[str]) -> None:
        """Called before training with the names of the classes; may refuse them (RecipeError)."""

    def remarks(self, epochs: int, clips: int) -> tuple[str, ...]:
        """Return what whoever trains so many epochs of so many clips may have overlooked."""
        return ()

    def after_step(self) -> None:
        """Called after every optimiser step; must not wait for the device."""
