"""A store of random recordings, in the layout and the sizes that a benchmark wants."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinegraph.data.clip import Clip, Track
from kinegraph.data.store_writer import create_store
from kinegraph.skeleton import load_layout

SPLIT = "subjects"  # odd ones train
TRAIN, TEST = 1, 2


@dataclass(frozen=True)
class RandomStore:
    """What a store of random recordings is like.

    Attributes:
        layout: Name of the layout.
        train: Clips that train.
        test: Clips that test.
        frames: Shortest and longest clip.
        persons: People in a clip.
        alone: Share of the clips with one person alone.
        classes: Number of classes.
        seed: Another seed gives other numbers.
    """

    layout: str
    train: int
    test: int
    frames: tuple[int, int] = (30, 150)
    persons: int = 1
    alone: float = 0.0
    classes: int = 60
    seed: int = 0

    def write(self, folder: Path) -> Path:
        """Write it to a folder that does not exist yet, and return the folder.

        Joints walk at random from a random start: never zeros, which some arithmetic is quicker
        with.

        Raises:
            LayoutError: There is no such layout.
            OutputError: The folder exists, or the disk refuses.
        """
        random = np.random.default_rng(self.seed)
        skeleton = load_layout(self.layout)
        shape = (skeleton.joint_count, skeleton.coordinates.channels)
        names = [f"class {label}" for label in range(self.classes)]
        count = self.train + self.test
        # Clips of one person are spread evenly, so that every batch has its share.
        alone = np.diff(np.floor(np.arange(count + 1) * self.alone)) > 0
        with create_store(folder, skeleton, names, source="random numbers") as writer:
            writer.default_split = SPLIT
            for number in range(count):
                frames = int(random.integers(self.frames[0], self.frames[1] + 1))
                people = 1 if alone[number] else self.persons
                steps = random.normal(0, 0.02, (people, frames, *shape)).cumsum(1)
                joints = (steps + random.normal(0, 0.5, (people, 1, *shape))).astype(np.float32)
                subject = TRAIN if number < self.train else TEST
                tracks = tuple(Track(each, 0, person) for person, each in enumerate(joints))
                label = number % self.classes
                writer.add(Clip(f"clip {number}", tracks, frames, label=label, subject=subject))
        return folder
