"""Damage to pickles and to MATLAB files, by their own structure."""

from __future__ import annotations

import pickle
import pickletools
import struct
import zlib
from typing import Any

import numpy as np

from fuzzing.packed import damage_array, wild_array
from fuzzing.plain import COPIES, INTEGERS, Random, damage_bytes
from kinegraph.errors import KinegraphError
from kinegraph.pickles import parse_pickle


def damage_pickle(data: bytes, random: Random) -> bytes:
    """Change a value and pickle the whole anew, or change the instructions."""
    if random.random() < 0.7:
        try:
            tree = parse_pickle(data, where="a seed")
            return pickle.dumps(_damage_value(tree, random), protocol=random.randrange(6))
        except (KinegraphError, OverflowError, RecursionError, ValueError, TypeError):
            pass  # it was damaged before
    steps = _instructions(data)
    if len(steps) < 2:
        return damage_bytes(data, random)
    at = random.randrange(len(steps))
    way = random.randrange(6)
    if way == 0:
        del steps[at]
    elif way == 1:
        steps[at:at] = steps[at : at + random.randrange(1, 6)] * random.randrange(1, COPIES)
    elif way == 2:
        other = random.randrange(len(steps))
        steps[at], steps[other] = steps[other], steps[at]
    elif way == 3:
        steps[at] = random.choice(INSTRUCTIONS)
    elif way == 4:
        steps.insert(at, random.choice(INSTRUCTIONS))
    else:
        steps[at] = steps[at][:1] + damage_bytes(steps[at][1:], random)
    return b"".join(steps)


INSTRUCTIONS = (
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"R", b"b",
    b"cnumpy._core.multiarray\n_reconstruct\n", b"cnumpy._core.numeric\n_frombuffer\n", b"o",
    b"\x81", b"(", b"t", b"l", b"d", b"]", b"}", b")", b"a", b"e", b"s", b"u", b"0", b"1", b"2",
    b".", b"N", b"q\x00", b"h\x00", b"h\xff", b"j\xff\xff\xff\xff", b"r\xff\xff\xff\xff", b"\x94",
    b"\x8a\xff", b"\x8b\xff\xff\xff\x7f", b"B\xff\xff\xff\xff", b"\x8e" + b"\xff" * 8,
    b"X\xff\xff\xff\x7f", b"\x8d" + b"\xff" * 8, b"\x95" + b"\xff" * 8,
    b"I99999999999999999999\n", b"Fnan\n", b"F1e999\n", b"L" + b"9" * 5000 + b"L\n",
    b"Vabc\\ud800\n", b"S'\\xff'\n", b"Pid\n", b"Q", b"\x82\x01", b"\x97", b"\x98", b"\x8f",
    b"\x90", b"\x91", b"\x93", b"\x92", b"\x96" + b"\xff" * 8, b"G" + b"\xff" * 8, b"K\x05",
    b"M\xff\xff", b"J\xff\xff\xff\xff", b"\x88", b"(" * 500, b"]" * 500 + b"a" * 499,
)  # fmt: skip


def _instructions(data: bytes) -> list[bytes]:
    """Cut a pickle into its instructions, as far as it can be understood."""
    places = []
    try:
        for _, _, place in pickletools.genops(data):
            places.append(place or 0)
            if len(places) > 3000:
                break
    except Exception:  # damaged before; what was understood is enough
        places.append(len(data))
    ends = [*places[1:], len(data)]
    return [data[begin:end] for begin, end in zip(places, ends, strict=True)]


def _damage_value(node: Any, random: Random) -> Any:
    """Go down a tree of plain data and arrays at random and change what is found there."""
    if isinstance(node, dict) and node and random.random() < 0.9:
        key = random.choice(list(node))
        way = random.randrange(10)
        if way == 0:
            return {name: value for name, value in node.items() if name != key}
        if way == 1:
            return {("x" if name == key else name): value for name, value in node.items()}
        return {**node, key: _damage_value(node[key], random)}
    if isinstance(node, list | tuple) and node and random.random() < 0.9:
        at = random.randrange(len(node))
        way = random.randrange(10)
        items = list(node)
        if way == 0:
            del items[at]
        elif way == 1:
            items[at:at] = [items[at]] * random.randrange(1, 5)
        else:
            items[at] = _damage_value(items[at], random)
        return items if random.random() < 0.1 else type(node)(items)
    if isinstance(node, np.ndarray) and random.random() < 0.85:
        return damage_array(node, random)
    values = (None, True, [], {}, (), -1, 0, 1.5, 10**30, float("nan"), "x", b"x", "", "a\nb",
              [[1]], {"a": 1}, 2**31, 2**63, "/" * 300)  # fmt: skip
    return random.choice((*values, wild_array(random)))


MAT_TYPES = (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 14, 15, 16, 17, 18, 255, 2**31)


def damage_mat(data: bytes, random: Random) -> bytes:
    """Change the elements of a MATLAB 5 file, also inside compressed ones."""
    if len(data) < 136 or random.random() < 0.1:
        return damage_bytes(data, random)
    header, body = data[:128], bytearray(data[128:])
    kind, size = struct.unpack_from("<II", body)
    packed = kind == 15
    if packed:
        try:
            unpack = zlib.decompressobj()
            body = bytearray(unpack.decompress(bytes(body[8 : 8 + size]), 1 << 18))
        except zlib.error:
            return damage_bytes(data, random)
    way = random.randrange(8)
    tags = _mat_tags(bytes(body))
    if way == 0:
        header = damage_bytes(header, random)
    elif way == 1 or not tags:
        body = bytearray(damage_bytes(bytes(body), random))
    elif way < 6:
        at = random.choice(tags)
        new = random.choice(MAT_TYPES) if way < 4 else random.choice(INTEGERS)
        struct.pack_into("<I", body, at + (0 if way < 4 else 4), new & 0xFFFFFFFF)
    else:
        at = random.choice(tags) + 8 + 4 * random.randrange(4)
        if at + 4 <= len(body):
            struct.pack_into("<i", body, at, random.choice((-1, *INTEGERS[:-2])) & 0x7FFFFFFF)
    if not packed or way == 7:
        return bytes(header) + bytes(body)
    inner = zlib.compress(bytes(body))
    return bytes(header) + struct.pack("<II", 15, len(inner)) + inner


def _mat_tags(body: bytes) -> list[int]:
    """Return the places of the tags: of the matrix and of the elements in it."""
    tags, at = [], 0
    while at + 8 <= len(body) and len(tags) < 50:
        tags.append(at)
        kind, size = struct.unpack_from("<II", body, at)
        if kind == 14 or kind >> 16:  # a matrix holds elements; a small element is its own content
            at += 8
        else:
            at += 8 + size + -size % 8
    return tags
