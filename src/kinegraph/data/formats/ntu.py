"""NTU RGB+D 60 and 120: ``.skeleton`` files in a folder, in one of the zips, or in both of them.

A source is a folder with such files anywhere below it (the originals ask for
``data/nturgbd_raw/nturgb+d_skeletons`` and ``.../nturgb+d_skeletons120``), one of the two archives
that users download, or a folder that holds these archives. Names are ``SsssCcccPpppRrrrAaaa``:
setup, camera, performer, replication, action. NTU RGB+D 60 is the part of 120 with setups up to 17.

Sources: Shahroudy et al., NTU RGB+D (CVPR 2016); Liu et al., NTU RGB+D 120 (TPAMI 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import resources
from pathlib import Path

import numpy as np

from kinegraph.data.cleaning import CLEANINGS, Cleaning
from kinegraph.data.clip import UNKNOWN, Clip
from kinegraph.data.formats.members import Member, member_names, open_members
from kinegraph.data.formats.ntu_text import BODY_FIELDS, JOINT_FIELDS, read_skeleton
from kinegraph.data.formats.processed import BODIES, NTU_NAME, ntu_class_names, numbers_of
from kinegraph.data.formats.recordings import Format, Lazy, Options, Recording, Recordings
from kinegraph.data.formats.seen_people import tracks_where_seen
from kinegraph.errors import ClipError, LayoutError, SourceError
from kinegraph.skeleton import load_layout

SUFFIX = ".skeleton"
LAYOUT = "ntu25"
NO_SKELETON = "on the published list of recordings whose skeletons are missing or wrong"
SNIFFED_BYTES = 4096


@dataclass(frozen=True)
class DataSet:
    """One of the two data sets.

    Attributes:
        title: What it is called.
        setups: How many setups it has, numbered from 1.
        classes: How many actions it has, numbered from 1.
    """

    title: str
    setups: int
    classes: int

    def has(self, stem: str) -> bool:
        """Whether a recording of this name belongs to it; other names than NTU's may."""
        found = NTU_NAME.fullmatch(stem)
        return found is None or (
            1 <= int(found[1]) <= self.setups and 1 <= int(found[5]) <= self.classes
        )


NTU_60 = DataSet("NTU RGB+D 60", setups=17, classes=60)
NTU_120 = DataSet("NTU RGB+D 120", setups=32, classes=120)


@cache
def missing_recordings() -> frozenset[str]:
    """Return the 535 names of NTU RGB+D 120 to be left out; 302 of them are in NTU RGB+D 60."""
    file = resources.files("kinegraph.data.formats").joinpath("names/ntu_missing.txt")
    return frozenset(file.read_text("utf-8").split())


@contextmanager
def open_ntu(data_set: DataSet, source: Path, options: Options) -> Iterator[Recordings]:
    """Open a ``.skeleton`` file, a folder of them, an archive, or a folder of archives.

    A single file is taken whatever the published list says of it.

    Raises:
        SourceError: There is nothing to read.
        LayoutError: Another layout than ``ntu25`` was asked for.
    """
    if options.layout not in (None, LAYOUT):
        raise LayoutError(f"NTU recordings have layout '{LAYOUT}', not '{options.layout}'")
    cleaning = options.cleaning or next(iter(CLEANINGS))
    way, skeleton = CLEANINGS[cleaning], load_layout(LAYOUT)
    with open_members(source, SUFFIX, archives=True) as members:
        members = sorted(members, key=_stem_of)
        wanted = [member for member in members if data_set.has(member.stem)]
        named = [member.path for member in members] == [source.name]  # one file, and no archive
        left_out = [] if named else _missing(wanted)
        names = {name for name, _ in left_out}
        kept = [member for member in wanted if member.stem not in names]
        _check_some(kept, members, data_set, source)
        yield Recordings(
            skeleton=replace(skeleton, coordinates=replace(skeleton.coordinates, up=way.up)),
            class_names=ntu_class_names()[: data_set.classes],
            items=Lazy(len(kept), partial(_recording, kept, way)),
            default_split="xsub",
            left_out=left_out,
            notes={"cleaning": cleaning, "not_of_this_set": len(members) - len(wanted)},
        )


def read_member(member: Member, cleaning: Cleaning) -> Clip:
    """Read one recording.

    Raises:
        ClipError: It is no such recording, or nobody is in it.
    """
    where = f"'{member.path}'"
    sightings = read_skeleton(member.read(), where)
    try:
        # What no longer fits becomes infinite, and is refused as such by whoever checks the clip.
        with np.errstate(over="ignore", invalid="ignore"):
            people = cleaning.people(sightings)
    except ClipError as error:
        raise ClipError(f"{where}: {error}") from error
    found = NTU_NAME.fullmatch(member.stem)
    numbers = numbers_of(member.stem)
    tracks = tracks_where_seen(people)
    return Clip(
        name=member.stem,
        tracks=tracks,
        frames=people.shape[1],
        label=int(found[5]) - 1 if found else UNKNOWN,
        subject=numbers.subject,
        camera=numbers.camera,
        setup=numbers.setup,
        replication=numbers.replication,
        # Where two places are there, but all tracks went to the first one, the published files of
        # NTU RGB+D 120 do not repeat the person in the second.
        extras={BODIES: len(people)} if len(tracks) < len(people) else {},
    )


def _recording(members: Sequence[Member], cleaning: Cleaning, row: int) -> Recording:
    return Recording(members[row].stem, partial(read_member, members[row], cleaning))


def _stem_of(member: Member) -> tuple[str, str]:
    return member.stem, member.path


def _missing(members: Sequence[Member]) -> list[tuple[str, str]]:
    listed = missing_recordings()
    stems = dict.fromkeys(member.stem for member in members)
    return [(stem, NO_SKELETON) for stem in stems if stem in listed]


def _check_some(
    kept: Sequence[Member], members: Sequence[Member], data_set: DataSet, source: Path
) -> None:
    if kept:
        return
    if any(data_set.has(member.stem) for member in members):
        raise SourceError(
            f"'{source}' holds no recording that can be used: all {len(members)} are {NO_SKELETON}"
        )
    raise SourceError(
        f"'{source}' holds no recording of {data_set.title} (setups up to {data_set.setups},"
        f" actions up to {data_set.classes}); found {members[0].stem}"
        + ("; import it as ntu120" if NTU_120.has(members[0].stem) else "")
    )


def matches_ntu(data_set: DataSet, path: Path) -> bool:
    """Whether a file reads like one of these, or a folder or archive has files named so.

    Only what goes beyond NTU RGB+D 60 tells its files from those of 120.
    """
    if path.is_file() and path.suffix == SUFFIX:
        return _reads_like_skeleton(path) and data_set.has(path.stem)
    if not path.is_dir() and path.suffix != ".zip":
        return False
    stems = [name.rpartition("/")[2].removesuffix(SUFFIX) for name in _member_names(path)]
    named = [stem for stem in stems if NTU_NAME.fullmatch(stem)]
    return bool(named) and all(map(data_set.has, named))


def _member_names(path: Path) -> list[str]:
    return member_names(path, SUFFIX, archives=True)


def _reads_like_skeleton(path: Path) -> bool:
    """Look at the first body: other data sets use the suffix for lines of other fields."""
    with path.open("rb") as file:
        lines = [line.split() for line in file.read(SNIFFED_BYTES).splitlines()[:-1]]
    headers = [row for row, fields in enumerate(lines) if len(fields) == BODY_FIELDS]
    if not headers:
        return all(len(fields) == 1 for fields in lines)  # frames without bodies
    return all(len(fields) == JOINT_FIELDS for fields in lines[headers[0] + 2 : headers[0] + 3])


def _format(name: str, summary: str, data_set: DataSet) -> Format:
    def opened(source: Path, options: Options) -> AbstractContextManager[Recordings]:
        return open_ntu(data_set, source, options)

    return Format(
        name=name,
        summary=summary,
        layouts=(LAYOUT,),
        matches=partial(matches_ntu, data_set),
        open=opened,
        looks="a .skeleton file",
        choices={"cleaning": tuple(CLEANINGS)},
    )


NTU60_FORMAT = _format(
    "ntu60", "NTU RGB+D 60, 60 actions: .skeleton files in a folder or zip", NTU_60
)
NTU120_FORMAT = _format(
    "ntu120", "NTU RGB+D 120, 120 actions: .skeleton files of both zips", NTU_120
)
