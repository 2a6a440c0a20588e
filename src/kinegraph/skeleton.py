"""The Skeleton type: names, tree, mirror and body parts of one layout of joints.

First in the flow: data, transforms, graphs, drawing and heads all ask a Skeleton. It knows no
arrays of recordings and no torch. Each layout is one small file in ``layouts/``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinegraph.errors import LayoutError, nearest, unknown

PARTS = ("head", "arms", "hands", "hips", "legs", "feet")
# Layout -> root of the tree, and whether its bones are turned round, in InfoGCN's own programs.
ORIGINAL_TREES = {"ntu25": (1, False), "ucla20": (2, True)}
FILE_FIELDS: dict[str, type] = {
    "name": str, "title": str, "centre": str, "joints": list, "coordinates": dict, "parts": dict,
}  # fmt: skip
COORDINATE_FIELDS: dict[str, type] = {"axes": list, "up": str, "unit": str}
TOML_TYPES: dict[type, str] = {str: "string", list: "list", dict: "table"}


@dataclass(frozen=True)
class Coordinates:
    """What the numbers of a joint mean: names of the C axes, which one points up, and the unit.

    ``up`` is a signed axis such as ``+y`` (Kinect, metres) or ``-y`` (image pixels, y grows down).
    An axis named ``score`` holds the confidence of a pose estimator, not a position; it comes last.
    """

    axes: tuple[str, ...]
    up: str
    unit: str

    @property
    def channels(self) -> int:
        """C, the number of values a joint has."""
        return len(self.axes)

    @property
    def positions(self) -> int:
        """How many of the leading axes are positions (2 or 3)."""
        return sum(axis != "score" for axis in self.axes)


@dataclass(frozen=True)
class Skeleton:
    """A layout of V joints, validated once when it is made.

    Attributes:
        name: Short name of the layout, such as ``ntu25``.
        title: One line for people.
        joints: V joint names, in the order of the data.
        parents: V parent indices; exactly one root has -1.
        mirror: V indices, the joint on the other side of the body (an involution).
        parts: Joint indices of head, arms, hands, hips, legs and feet; together all joints.
        centre: The joint that graph partitions measure distances from.
        coordinates: What the numbers of a joint mean.

    Raises:
        LayoutError: The fields contradict each other.
    """

    name: str
    title: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    mirror: tuple[int, ...]
    parts: Mapping[str, tuple[int, ...]] = field(hash=False)
    centre: int
    coordinates: Coordinates

    def __post_init__(self) -> None:
        joint_count = len(self.joints)
        self._require(joint_count > 0, "it has no joints")
        self._require(len(set(self.joints)) == joint_count, "two joints have the same name")
        for name in ("parents", "mirror"):
            found = len(getattr(self, name))
            self._require(found == joint_count, f"{name} has {found} of {joint_count} joints")
        joints = range(joint_count)
        self._require(all(p in joints or p == -1 for p in self.parents), "a parent is no joint")
        self._require(self.parents.count(-1) == 1, "it needs exactly one root (parent -1)")
        self._require(len(self.order) == joint_count, "its parents contain a circle")
        self._require(
            all(m in joints for m in self.mirror)
            and all(self.mirror[other] == joint for joint, other in enumerate(self.mirror)),
            "its mirror taken twice does not give every joint back",
        )
        self._require(self.centre in joints, "its centre is no joint")
        self._require(set(self.parts) == set(PARTS), f"its parts must be {', '.join(PARTS)}")
        members = {joint for part in self.parts.values() for joint in part}
        missing = [name for joint, name in enumerate(self.joints) if joint not in members]
        self._require(not missing, f"no body part has the joints {', '.join(missing)}")
        self._require(
            all(m in joints for m in members), "a body part names a joint that is not there"
        )
        self._check_coordinates()

    def _check_coordinates(self) -> None:
        axes, up = self.coordinates.axes, self.coordinates.up
        positions = axes[: self.coordinates.positions]
        self._require(len(set(axes)) == len(axes), "two axes have the same name")
        self._require(
            len(positions) in (2, 3), f"it has {len(positions)} axes of position, not 2 or 3"
        )
        self._require("score" not in positions, "its axis 'score' is not the last one")
        self._require(
            up[:1] in ("+", "-") and up[1:] in positions,
            f"its direction up '{up}' is no signed axis such as +y",
        )

    def _require(self, condition: bool, complaint: str) -> None:
        if not condition:
            raise LayoutError(f"layout '{self.name}' is malformed: {complaint}")

    @property
    def joint_count(self) -> int:
        """V, the number of joints."""
        return len(self.joints)

    @property
    def root(self) -> int:
        """The joint without a parent."""
        return self.parents.index(-1)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The V-1 bones as (child, parent), in joint order."""
        return tuple((c, p) for c, p in enumerate(self.parents) if p >= 0)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Joints so that every parent comes before its children."""
        order = [self.root]
        for joint in order:
            order.extend(child for child, parent in enumerate(self.parents) if parent == joint)
        return tuple(order)

    @cached_property
    def bone_parents(self) -> tuple[int, ...]:
        """Parents, with the root as its own parent, so that bone = x - x[bone_parents]."""
        return tuple(joint if p < 0 else p for joint, p in enumerate(self.parents))

    @cached_property
    def hops(self) -> NDArray[np.int64]:
        """Number of bones between each two joints, (V, V)."""
        hops = np.zeros((self.joint_count, self.joint_count), dtype=np.int64)
        for position, joint in enumerate(self.order[1:], start=1):
            before = list(self.order[:position])
            hops[joint, before] = hops[before, joint] = hops[self.parents[joint], before] + 1
        return hops

    @property
    def sides(self) -> tuple[str, ...]:
        """For each joint ``left``, ``right`` or ``middle``, read from the joint names."""
        return tuple(_side(name) for name in self.joints)

    def difference(self, other: Skeleton) -> str:
        """Name the first thing in which data of another layout would not fit, or return nothing.

        Titles, body parts and mirrors do not matter to a trained network; joints, bones, centre
        and the meaning of coordinates do.
        """
        fields = ("joints", "parents", "centre", "coordinates")
        return next((f for f in fields if getattr(self, f) != getattr(other, f)), "")

    def rooted_at(self, root: int) -> Skeleton:
        """Return the same bones, directed away from another root joint."""
        neighbours: dict[int, list[int]] = {joint: [] for joint in range(self.joint_count)}
        for child, parent in self.edges:
            neighbours[child].append(parent)
            neighbours[parent].append(child)
        if root not in neighbours:
            raise LayoutError(f"layout '{self.name}' has no joint {root} to be the root")
        parents, queue = {root: -1}, [root]
        for joint in queue:
            for other in neighbours[joint]:
                if other not in parents:
                    parents[other] = joint
                    queue.append(other)
        directed = tuple(parents[joint] for joint in range(self.joint_count))
        return replace(self, parents=directed)

    def k_mode(self, k: int, *, original: bool = False) -> NDArray[np.float32]:
        """Return the (V, V) operator I - P^k, where P takes each joint to its parent.

        k = 1 gives bones (the root stays absolute), larger k the vector from the k-th ancestor, and
        k beyond the depth of the tree the joints themselves.

        Source: Chi et al., InfoGCN (CVPR 2022), section 3.4.
        Differs from the original: there, the tree of ``ntu25`` begins at the middle of the spine,
        and the bones of ``ucla20`` are turned round, so that a joint loses the sum of its children.
        ``original`` restores both.

        Raises:
            LayoutError: k < 1; k = 0 would give an all-zero stream.
        """
        if k < 1:
            raise LayoutError(f"k-mode needs k >= 1, got {k}: k = 0 makes every input zero")
        root, turned = ORIGINAL_TREES.get(self.name, (self.root, False))
        tree = self.rooted_at(root) if original else self
        step = np.zeros((self.joint_count, self.joint_count))
        for child, parent in tree.edges:
            step[child, parent] = 1
        if original and turned:
            step = step.T
        operator: NDArray[np.float64] = np.eye(self.joint_count) - np.linalg.matrix_power(step, k)
        return operator.astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dicts, as they are kept in stores and checkpoints."""
        return {
            "name": self.name,
            "title": self.title,
            "joints": list(self.joints),
            "parents": list(self.parents),
            "mirror": list(self.mirror),
            "parts": {name: list(joints) for name, joints in self.parts.items()},
            "centre": self.centre,
            "coordinates": {
                "axes": list(self.coordinates.axes),
                "up": self.coordinates.up,
                "unit": self.coordinates.unit,
            },
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Skeleton:
        """Rebuild a Skeleton from `to_dict`.

        Raises:
            LayoutError: A field is missing or malformed.
        """
        try:
            coordinates = fields["coordinates"]
            return cls(
                name=str(fields["name"]),
                title=str(fields["title"]),
                joints=tuple(str(name) for name in fields["joints"]),
                parents=tuple(int(joint) for joint in fields["parents"]),
                mirror=tuple(int(joint) for joint in fields["mirror"]),
                parts={str(n): tuple(int(j) for j in p) for n, p in fields["parts"].items()},
                centre=int(fields["centre"]),
                coordinates=Coordinates(
                    axes=tuple(str(axis) for axis in coordinates["axes"]),
                    up=str(coordinates["up"]),
                    unit=str(coordinates["unit"]),
                ),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LayoutError(f"a skeleton description is malformed: {error!r}") from error


def layout_names() -> tuple[str, ...]:
    """Return the names of the layouts that come with kinegraph, sorted."""
    folder = resources.files("kinegraph") / "layouts"
    return tuple(
        sorted(f.name[: -len(".toml")] for f in folder.iterdir() if f.name[-5:] == ".toml")
    )


def load_layout(name: str) -> Skeleton:
    """Return a layout by name, or read one from a ``.toml`` file of your own.

    Raises:
        LayoutError: There is no such layout, or its file is malformed.
    """
    if name.endswith(".toml"):
        try:
            return parse_layout(Path(name).read_text(encoding="utf-8"), where=name)
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise LayoutError(f"layout file '{name}' cannot be read: {why}") from error
    if name not in layout_names():
        raise LayoutError(unknown("layout", name, layout_names()))
    return _packaged_layout(name)


@lru_cache(maxsize=64)
def _packaged_layout(name: str) -> Skeleton:
    file = resources.files("kinegraph") / "layouts" / f"{name}.toml"
    return parse_layout(file.read_text(encoding="utf-8"), where=name)


def parse_layout(text: str, *, where: str) -> Skeleton:
    """Parse a layout file: joints as ``[name, parent, mirror]`` by name, parts by joint names.

    Raises:
        LayoutError: The text is no TOML, has other fields, or names a joint that is not there.
    """
    try:
        fields = tomllib.loads(text)
        _check_fields(fields, FILE_FIELDS, "")
        _check_fields(fields["coordinates"], COORDINATE_FIELDS, "coordinates.")
        _check_fields(fields["parts"], dict.fromkeys(PARTS, list), "parts.")
        return _skeleton_from_names(fields)
    except tomllib.TOMLDecodeError as error:
        raise LayoutError(f"layout '{where}' is not valid TOML: {error}") from error
    except _MalformedError as error:
        raise LayoutError(f"layout '{where}' is malformed: {error}") from error


def _skeleton_from_names(fields: Mapping[str, Any]) -> Skeleton:
    rows = [_joint_row(row) for row in fields["joints"]]
    position = {name: joint for joint, (name, _, _) in enumerate(rows)}

    def joint(name: object, place: str) -> int:
        if not isinstance(name, str) or name not in position:
            raise _MalformedError(f"{place} names a joint {name!r}{nearest(str(name), position)}")
        return position[name]

    return Skeleton(
        name=fields["name"],
        title=fields["title"],
        joints=tuple(name for name, _, _ in rows),
        parents=tuple(joint(p, f"the parent of '{n}'") if p else -1 for n, p, _ in rows),
        mirror=tuple(joint(m, f"the mirror of '{n}'") for n, _, m in rows),
        parts={part: tuple(joint(n, part) for n in fields["parts"][part]) for part in PARTS},
        centre=joint(fields["centre"], "centre"),
        coordinates=Coordinates(
            axes=tuple(str(axis) for axis in fields["coordinates"]["axes"]),
            up=fields["coordinates"]["up"],
            unit=fields["coordinates"]["unit"],
        ),
    )


def _joint_row(row: object) -> tuple[str, str, str]:
    """Return name, parent and mirror of a joint; a joint without a mirror is its own."""
    whole = isinstance(row, list) and len(row) in (2, 3) and all(isinstance(n, str) for n in row)
    if not isinstance(row, list) or not whole:
        raise _MalformedError(f"joint {row!r} is not [name, parent] or [name, parent, mirror]")
    return row[0], row[1], row[-1] if len(row) == 3 else row[0]


def _check_fields(table: Mapping[str, Any], expected: Mapping[str, type], place: str) -> None:
    for name in table:
        if name not in expected:
            raise _MalformedError(unknown("field", f"{place}{name}", (place + n for n in expected)))
    for name, kind in expected.items():
        if not isinstance(table.get(name), kind):
            found = repr(table[name]) if name in table else "nothing"
            raise _MalformedError(f"{place}{name} must be a {TOML_TYPES[kind]}, found {found}")


class _MalformedError(Exception):
    """A layout file says something wrong; `parse_layout` adds which file."""


def _side(name: str) -> str:
    words = name.split()
    return words[0] if words and words[0] in ("left", "right") else "middle"
