"""What `kinegraph bench` finds out, as plain values; units are in the names."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

FORMAT_VERSION = 1


@dataclass
class Speed:
    """How fast training or inference is with batches of one size.

    Attributes:
        what: ``training`` or ``inference``.
        people: ``all``, or how many clips have one person alone.
        batch_size: Clips of a step; in training those of all batches whose gradients it averages.
        clips_per_second: One number for each round.
        warm_up_seconds: Until the first of the rounds: compilation, recording, choice of kernels.
        peak_memory_bytes: Most memory at once, see `memory.peak_bytes`; None: not known here.
        phases_seconds: Mean seconds of ``data``, ``forward``, ``backward`` and ``optimiser`` in a
            step; training alone.
        flops_per_clip: Arithmetic, see `work.Work`.
        bytes_per_clip: Least traffic, see `work.Work`.
        problem: Why there are no numbers, or empty.
    """

    what: str
    people: str
    batch_size: int
    clips_per_second: list[float] = field(default_factory=list)
    warm_up_seconds: float = 0.0
    peak_memory_bytes: int | None = None
    phases_seconds: dict[str, float] = field(default_factory=dict)
    flops_per_clip: float | None = None
    bytes_per_clip: float | None = None
    problem: str = ""

    @property
    def median(self) -> float:
        """Clips a second in the middle round."""
        return median(self.clips_per_second)

    @property
    def step_seconds(self) -> float:
        """Seconds of a step in the middle round."""
        return self.batch_size / self.median


@dataclass
class Latency:
    """Seconds from a batch of one clip on the device to its scores, each waited for."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.seconds)

    @property
    def slow(self) -> float:
        """The one that nine of ten do not exceed."""
        return sorted(self.seconds)[min(int(0.9 * len(self.seconds)), len(self.seconds) - 1)]


@dataclass
class BenchResult:
    """All that was measured of a recipe.

    Attributes:
        recipe: Its name.
        subject: What was measured, in words: network, parameters, sizes.
        recordings: Where the clips came from, in words.
        device: The device, in words.
        execution: How it computed, in words.
        speeds: Training and inference, by batch size.
        latency: Of one clip.
        ceilings: What the device can do, as it was measured in between.
        notes: What was said meanwhile, such as how long compiling took.
        versions: Of packages and of this program.
        settings: Rounds and seconds.
    """

    recipe: str
    subject: str
    recordings: str
    device: str
    execution: str
    speeds: list[Speed] = field(default_factory=list)
    latency: Latency | None = None
    ceilings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return everything as plain values for a JSON file, with medians."""
        values: dict[str, Any] = asdict(self)
        for row, speed in zip(values["speeds"], self.speeds, strict=True):
            row["median_clips_per_second"] = speed.median if speed.clips_per_second else None
        if self.latency is not None:
            values["latency"]["median"] = self.latency.median
        return {"format_version": FORMAT_VERSION, "benchmark": "recipe"} | values
