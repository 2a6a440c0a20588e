"""From a recipe to the parts of a run: the store's clips, loaders, objective and device."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinegraph.console import remark
from kinegraph.data.copied_person import copies_a_lone_person
from kinegraph.data.loader import ALL, ClipLoader, Share
from kinegraph.data.reader import TrackReader
from kinegraph.data.resident import choose_reader
from kinegraph.data.store import Store, open_store
from kinegraph.errors import LayoutError, RecipeError, StoreError, TrainingError
from kinegraph.layout_mapping import JointMap, map_joints
from kinegraph.recipe import Recipe
from kinegraph.skeleton import Skeleton, load_layout
from kinegraph.training.division import NOBODY, Rows, divide
from kinegraph.transforms.pipeline import Pipeline

BATCHES_AHEAD = 2  # that a thread makes where batches are made on the host for another device


@dataclass(frozen=True)
class RunData:
    """The recordings of a run.

    Attributes:
        recipe: The recipe.
        store: The store.
        reader: Its tracks as tensors, on the host.
        rows: Part (``train``, ``validation``, ``test``) -> rows of the store, all with labels;
            ``unlabelled`` are those without, where a run that needs no labels trains on them, too;
            it may be empty, as they are left out where they may show people who test.
        pipelines: View -> transforms.
    """

    recipe: Recipe
    store: Store
    reader: TrackReader
    rows: dict[str, Rows]
    pipelines: dict[str, Pipeline]
    _readers: dict[torch.device, TrackReader] = field(default_factory=dict, repr=False)

    @property
    def persons(self) -> int:
        """M, person slots."""
        return self.reader.persons

    @property
    def skeleton(self) -> Skeleton:
        """The layout that the network sees; the store may have another one."""
        return self.reader.skeleton

    @property
    def training_rows(self) -> Rows:
        """Rows of the clips that train, those without a label included, in store order."""
        return np.sort(np.concatenate((self.rows["train"], self.rows.get("unlabelled", NOBODY))))

    def training_loader(
        self,
        views: tuple[str, ...],
        device: torch.device,
        share: Share = ALL,
        *,
        share_absent: bool = True,
    ) -> ClipLoader:
        """Return a share of shuffled batches of the training clips, in an objective's views.

        Absent people who count share rows, unless ``share_absent`` is false, see `ClipLoader`.
        """
        missing = [view for view in views if view not in self.pipelines]
        if missing:
            raise RecipeError(f"the objective wants transforms for view '{missing[0]}'")
        training = self.recipe.training
        labels = self.store.clips["label"].copy()
        if training.shuffle_labels:
            random = np.random.default_rng([self.recipe.seed, 0x5348])
            labels[self.rows["train"]] = random.permutation(labels[self.rows["train"]])
        loader = ClipLoader(
            self.reader_for(device),
            labels,
            self.training_rows,
            self.pipelines,
            views=views,
            batch_size=training.batch_size,
            seed=self.recipe.seed,
            shuffle=True,
            drop_last=training.drop_last,
            repeat=training.repeat,
            balanced=training.balanced,
            device=device,
            ahead=self._ahead(device),
            count_absent=self.recipe.original,
            row_multiple=self._row_multiple(device, training.batch_size),
            share=share,
            share_absent=share_absent,
            repeat_draws=self.recipe.original and training.repeat_draws,
        )
        if len(loader) == 0:
            raise RecipeError(
                f"training.batch_size {training.batch_size} is more than the"
                f" {len(self.training_rows) * training.repeat} clips of an epoch, and"
                " training.drop_last leaves out what is less than a batch"
            )
        return loader

    def testing_loader(
        self, part: str, batch_size: int, device: torch.device, share: Share = ALL
    ) -> ClipLoader:
        """Return a share of a part's clips in store order, through the ``test`` transforms."""
        return self.ordered_loader(self.rows[part], ("test",), batch_size, device, share)

    def ordered_loader(
        self,
        rows: Rows,
        views: tuple[str, ...],
        batch_size: int,
        device: torch.device,
        share: Share = ALL,
    ) -> ClipLoader:
        """Return a share of any clips in the given order, in the given views."""
        return ClipLoader(
            self.reader_for(device),
            self.store.clips["label"],
            rows[share.of(len(rows))],
            self.pipelines,
            views=views,
            batch_size=batch_size,
            seed=self.recipe.seed,
            device=device,
            ahead=self._ahead(device),
            count_absent=self.recipe.original,
            row_multiple=self._row_multiple(device, batch_size),
        )

    def try_transforms(self, views: tuple[str, ...], device: torch.device) -> None:
        """Put a clip through the transforms of an objective's views and of tests.

        Raises:
            LayoutError, RecipeError: One of them cannot be used on such clips.
        """
        loader = self.ordered_loader(self.training_rows[:1], (*views, "test"), 1, device)
        loader.batch(torch.from_numpy(loader.rows))

    def reader_for(self, device: torch.device) -> TrackReader:
        """Return the tracks where batches for a device are made, see ``data.place``.

        Recordings are copied to a device once; all loaders of the run share them.

        Raises:
            TrainingError: The recipe wants them on the device, which has not enough free memory.
        """
        if device not in self._readers:
            self._readers[device] = choose_reader(
                self.reader, list(self.pipelines.values()), device, self.recipe.data.place
            )
        return self._readers[device]

    def _row_multiple(self, device: torch.device, batch_size: int) -> int:
        """Return what numbers of rows are filled up to: on a GPU, where each asks for a graph.

        Filling costs 2 or 3 % of a batch and leaves a handful of different numbers.
        """
        several = device.type == "cuda" and self.persons > 1
        return max(1, batch_size // 16) if several else 1

    def _ahead(self, device: torch.device) -> int:
        """Return how many batches a thread makes in advance: none where it would only compete."""
        elsewhere = device.type != self.reader_for(device).joints.device.type
        return BATCHES_AHEAD if elsewhere else 0


def open_data(
    recipe: Recipe,
    store: str | Path | None = None,
    *,
    persons: int | None = None,
    skeleton: Skeleton | None = None,
) -> RunData:
    """Open a recipe's recordings.

    Args:
        recipe: The recipe.
        store: A store to use instead of the recipe's.
        persons: Person slots of a network that is trained already; default: as the recipe says.
        skeleton: Layout of such a network, which clips are brought to; default: as the recipe says.

    Raises:
        RecipeError: The recipe names no store, or one that does not fit it.
        LayoutError: ``data.as_layout`` is no layout.
        StoreError: The store cannot be opened.
        SplitError: The split does not work on the store.
    """
    opened = named_store(recipe, store)
    path = opened.path
    joint_map = _joint_map(recipe, opened, skeleton)
    skeleton = opened.skeleton if joint_map is None else joint_map.target
    if recipe.data.layout not in (None, skeleton.name):
        raise RecipeError(
            f"the recipe is made for layout '{recipe.data.layout}', but store '{path}'"
            f" {'has' if joint_map is None else 'is brought to'} '{skeleton.name}'"
            f" ({skeleton.joint_count} joints)"
        )
    rows = divide(recipe, opened)
    persons = persons or recipe.data.persons or min(opened.max_persons, 2)
    return RunData(
        recipe=recipe,
        store=opened,
        reader=TrackReader(
            opened,
            persons,
            count_nonzero=recipe.original,
            copy_alone=recipe.original and copies_a_lone_person(opened.class_names),
            joint_map=joint_map,
        ),
        rows=rows,
        pipelines=build_pipelines(recipe, skeleton),
    )


def named_store(recipe: Recipe, store: str | Path | None = None) -> Store:
    """Open the store that a recipe names, or another one instead.

    Raises:
        RecipeError: The recipe names no store.
        StoreError: The store cannot be opened.
    """
    path = store or recipe.data.store
    if not path:
        raise RecipeError(
            "no recordings are named: give --data.store STORE (made by kinegraph data import)"
        )
    if not Path(path).exists():
        raise StoreError(
            f"store '{path}' does not exist; if it was moved, say where with --data.store, and make"
            " one with: kinegraph data import"
        )
    return open_store(path)


def _joint_map(recipe: Recipe, store: Store, skeleton: Skeleton | None) -> JointMap | None:
    """Return how the clips of a store are brought to another layout; None: they stay.

    Says once what was filled in from where, as those joints tell nothing new.

    Raises:
        RecipeError: The store has too little in common with the layout.
        LayoutError: ``data.as_layout`` is no layout.
    """
    if skeleton is None and recipe.data.as_layout is not None:
        skeleton = load_layout(recipe.data.as_layout)
    if skeleton is None or not skeleton.difference(store.skeleton):
        return None
    try:
        joint_map = map_joints(store.skeleton, skeleton)
    except LayoutError as error:
        raise RecipeError(f"store '{store.path}': {error}") from error
    if joint_map.filled or recipe.data.as_layout is None:
        remark(joint_map.describe())
    return joint_map


def build_pipelines(recipe: Recipe, skeleton: Skeleton) -> dict[str, Pipeline]:
    """Make the transforms of every view.

    Raises:
        RecipeError: A view is missing, or its list makes no sense.
    """
    if "test" not in recipe.transforms:
        raise RecipeError("the recipe has no transforms for view 'test'")
    half = recipe.data.precision == "float16"
    return {
        view: Pipeline(configs, recipe.stream, skeleton, original=recipe.original, half=half)
        for view, configs in recipe.transforms.items()
    }


def choose_device(name: str) -> torch.device:
    """Return a device by name; ``auto`` takes an accelerator if there is one.

    Raises:
        TrainingError: The device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = f"cuda:{name}" if name.isdecimal() else name
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        if reason.startswith("Expected one of"):  # and then two dozen kinds
            reason = "there is no such kind; say cpu, cuda, cuda:1 or mps"
        raise TrainingError(f"device '{name}' cannot be used: {reason}") from error
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # kernels of our own start on the current one
    return device


def autocast_type(precision: str) -> Any:
    """Return the type that the forward pass computes in, or None for float32."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
