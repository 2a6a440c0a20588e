"""Bringing clips to another layout by the names of joints.

Place in the flow: a reader of recordings or the predictor asks which joint of the recordings
stands at each place of the layout that the network sees. Knows names and trees, no recordings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from kinegraph.errors import LayoutError
from kinegraph.skeleton import Skeleton

# Names of one joint in different layouts.
SAME_JOINT = (
    ("base of spine", "hip centre", "hip center", "mid hip", "pelvis"),
    ("middle of spine", "spine", "torso"),
    ("spine at shoulders", "shoulder centre", "shoulder center", "thorax"),
)
# What stands for a joint that is missing along with all of its ancestors, the best first.
STAND_INS = {"neck": ("spine at shoulders",), "spine at shoulders": ("neck",)}
_COMMON_NAME = {name: names[0] for names in SAME_JOINT for name in names}


@dataclass(frozen=True)
class JointMap:
    """Where the joints of a layout come from in another one.

    Attributes:
        source: Layout of the recordings.
        target: Layout that they are brought to.
        index: For each joint of ``target``, the joint of ``source`` whose place it takes.
        filled: (target, source) names of the joints that ``source`` does not have.
    """

    source: Skeleton
    target: Skeleton
    index: tuple[int, ...]
    filled: tuple[tuple[str, str], ...]

    def describe(self) -> str:
        """Return one line that says what was brought where, and what was filled in from where."""
        line = f"layout '{self.source.name}' is brought to '{self.target.name}' by joint names"
        if not self.filled:
            return line
        filled = ", ".join(f"{joint} from {origin}" for joint, origin in self.filled)
        return f"{line}; filled in: {filled}"


@lru_cache(maxsize=64)
def map_joints(source: Skeleton, target: Skeleton) -> JointMap:
    """Find for each joint of a layout the joint of another one that takes its place.

    Joints are matched by name; some have several names (`SAME_JOINT`). A joint that ``source``
    lacks takes its nearest ancestor, in the tree of ``target``, that it has. Where it has none of
    them, as at the root, `STAND_INS` or else the nearest joint on the same side of the body does.

    Args:
        source: Layout of the recordings.
        target: Layout that they are brought to.

    Raises:
        LayoutError: Coordinates mean something else, or fewer than half of the joints have a name
            in common.
    """
    where = f"layout '{source.name}' cannot be brought to '{target.name}'"
    for what in ("axes", "up", "unit"):
        own, other = getattr(source.coordinates, what), getattr(target.coordinates, what)
        if own != other:
            raise LayoutError(f"{where}: {_meaning(what)} {_said(own)} there, {_said(other)} here")
    found = [_find(source, name) for name in target.joints]
    common = sum(joint is not None for joint in found)
    if 2 * common < target.joint_count:
        raise LayoutError(
            f"{where}: it has {common} of the {target.joint_count} joints by name, expected half of"
            f" them at least; its joints are {', '.join(source.joints)}"
        )
    index, filled = [], []
    for joint, name in enumerate(target.joints):
        origin = found[joint]
        if origin is None:
            origin = _fill(source, target, joint, found)
            filled.append((name, source.joints[origin]))
        index.append(origin)
    return JointMap(source, target, tuple(index), tuple(filled))


def _meaning(what: str) -> str:
    return {"axes": "the axes of a joint are", "up": "up is", "unit": "the unit is"}[what]


def _said(value: str | tuple[str, ...]) -> str:
    return f"'{value if isinstance(value, str) else ' '.join(value)}'"


def _common(name: str) -> str:
    name = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    return _COMMON_NAME.get(name, name)


def _find(source: Skeleton, name: str) -> int | None:
    """Return the joint of this name: the very same if there is one, else one that means it."""
    if name in source.joints:
        return source.joints.index(name)
    common = _common(name)
    same = (joint for joint, other in enumerate(source.joints) if _common(other) == common)
    return next(same, None)


def _fill(source: Skeleton, target: Skeleton, joint: int, found: list[int | None]) -> int:
    """Return the joint of ``source`` that takes the place of one that it lacks."""
    ancestor = target.parents[joint]
    while ancestor >= 0:
        origin = found[ancestor]
        if origin is not None:
            return origin
        ancestor = target.parents[ancestor]
    for name in STAND_INS.get(_common(target.joints[joint]), ()):
        stand_in = _find(source, name)
        if stand_in is not None:
            return stand_in

    def distance(other: int) -> tuple[bool, int, int]:
        # Last, what is the same for both joints of a pair, so that pairs get pairs.
        pair = min(other, target.mirror[other])
        aside = target.sides[other] != target.sides[joint]
        return aside, int(target.hops[joint, other]), pair

    nearest = min((j for j, origin in enumerate(found) if origin is not None), key=distance)
    origin = found[nearest]
    assert origin is not None
    return origin
