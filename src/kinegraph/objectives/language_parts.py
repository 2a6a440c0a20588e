"""Which joints are head, hand, hip and foot for the objective `language`. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

from kinegraph.skeleton import Skeleton

PartLists = Mapping[str, tuple[int, ...]]

# The parts of a layout that make one: texts about a hand speak of the arm as well.
MEMBERS = {
    "head": ("head",),
    "hand": ("hands", "arms"),
    "hip": ("hips",),
    "foot": ("feet", "legs"),
}


def _range(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


# (layout, what joints stand for) -> the lists of the original. Its lists for bones are numbered as
# if the root's bone had been left out, which it has not.
ORIGINAL: dict[tuple[str, str], dict[str, tuple[int, ...]]] = {
    ("ntu25", "joints"): {
        "head": (2, 3, 20),
        "hand": (*_range(4, 11), *_range(21, 24)),
        "hip": (0, 1, 2, 12, 16),
        "foot": _range(12, 19),
    },
    ("ntu25", "bones"): {
        "head": (2, 3),
        "hand": (*_range(4, 11), 20, 22, 23, 24),
        "hip": (0, 1, 12, 16),
        "foot": _range(12, 19),
    },
    ("ucla20", "joints"): {
        "head": (2, 3),
        "hand": _range(4, 11),
        "hip": (0, 1, 12, 16),
        "foot": _range(12, 19),
    },
    ("ucla20", "bones"): {
        "head": (2,),
        "hand": _range(3, 10),
        "hip": (0, 1, 11, 15),
        "foot": _range(11, 18),
    },
}


def part_lists(skeleton: Skeleton, *, original: str | None = None) -> PartLists:
    """Return the joints of head, hand, hip and foot.

    Args:
        skeleton: Layout; its parts say which joints a part has. A part of which it has no joint
            sees all of them.
        original: ``joints`` or ``bones``: take the original's list for them where it has one,
            which is for ntu25 and ucla20.
    """
    if known := ORIGINAL.get((skeleton.name, original or "")):
        return known
    everything = tuple(range(skeleton.joint_count))
    return {
        part: tuple(sorted({joint for name in names for joint in skeleton.parts[name]}))
        or everything
        for part, names in MEMBERS.items()
    }
