"""Damaging a source: the contents of its files, by what they are, and how they lie together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

from fuzzing.packed import damage_npy, damage_npz, damage_zip, pack, wild_name
from fuzzing.plain import Random, damage_bytes, damage_json, damage_text
from fuzzing.programs import damage_mat, damage_pickle
from fuzzing.seeds import Files, Source

MAX_BYTES = 1 << 20  # of a source, so that damage upon damage stays small
WAYS: dict[str, Callable[[bytes, Random], bytes]] = {
    ".json": damage_json,
    ".txt": damage_text,
    ".skeleton": damage_text,
    ".npy": damage_npy,
    ".npz": damage_npz,
    ".pkl": damage_pickle,
    ".mat": damage_mat,
    ".zip": damage_zip,
}


def damage(source: Source, random: Random) -> Source:
    """Return a source with one to a few faults."""
    for _ in range(1 + min(4, int(random.expovariate(1.5)))):
        source = _damage_once(source, random)
    if sum(len(content) for _, content in source.files) > MAX_BYTES:
        source = replace(source, files=tuple((p, c[: MAX_BYTES // 8]) for p, c in source.files))
    return source


def _damage_once(source: Source, random: Random) -> Source:
    if source.form == "zip" and random.random() < 0.25:
        whole = source.packed or pack(list(source.files))
        return replace(source, packed=damage_zip(whole, random)[: 4 * MAX_BYTES])
    if source.packed is not None or not source.files:
        return source
    if random.random() < 0.08:
        return replace(source, files=_damage_tree(source.files, random))
    at = random.randrange(len(source.files))
    path, content = source.files[at]
    way = WAYS.get(PurePosixPath(path).suffix, damage_bytes)
    if random.random() < 0.15:
        way = damage_bytes
    changed = (path, way(content, random))
    return replace(source, files=(*source.files[:at], changed, *source.files[at + 1 :]))


def _damage_tree(files: Files, random: Random) -> Files:
    """Rename, remove, repeat, empty or exchange files."""
    at, other = random.randrange(len(files)), random.randrange(len(files))
    path, content = files[at]
    before, after = files[:at], files[at + 1 :]
    way = random.randrange(6)
    if way == 0:
        return (*before, (wild_name(path, random), content), *after)
    if way == 1:
        return (*before, *after)
    if way == 2:
        return (*files, (wild_name(path, random), content))
    if way == 3:
        return (*before, (path, b""), *after)
    if way == 4:
        return (*before, (path, files[other][1]), *after)
    return (*before, (path, content[: random.randrange(len(content) + 1)]), *after)
