"""Damage to files of arrays and to zip archives, by their own structure."""

from __future__ import annotations

import io
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from fuzzing.plain import INTEGERS, Random, damage_bytes

MAGIC = b"\x93NUMPY"
TYPES = (
    "|b1", "<i1", "<i2", "<i4", "<i8", "<u8", "<f2", "<f4", "<f8", ">f4", ">i8", "<c8", "<U3",
    "|S3", "|S0", "<U0", "|V8", "|O", "<M8[s]", "<m8", "f16", "<f3", "<U99999999", "|V2147483647",
)  # fmt: skip
DESCRIPTIONS = (
    "('<f4', (2, 3))", "[('a', '<f4'), ('b', '<i2')]", "[('a', '|O')]", "['a']", "None", "1", "''",
    "[]", "[('a', [('b', '<f4')])]", "[('a', '<f4', (1000000,))]", "{'names': []}", "'f4' * 9",
    "[('a', '<f4'), ('a', '<f4')]", "[('a',)]", "'<f4'.upper()",
)  # fmt: skip
SHAPES = (
    "()", "(0,)", "(1,)", "(-1,)", "(10**18,)", "(1000000000000,)", "(2, -1)", "(1.5,)", "5", "'x'",
    "(True,)", "(99999999999999999999,)", "(0, 99999999999999)", "(1,) * 40", "((1,),)",
    "(" + "1," * 70 + ")", "(" * 90 + ")" * 90, "[1]", "None",
)  # fmt: skip


def damage_npy(data: bytes, random: Random) -> bytes:
    """Change the header of an array file, or its values."""
    if not data.startswith(MAGIC) or len(data) < 12:
        return damage_bytes(data, random)
    length = struct.unpack_from("<H", data, 8)[0]
    header, values = data[10 : 10 + length], data[10 + length :]
    way = random.randrange(16)
    if way > 11:
        return _damage_whole(data, random)
    if way > 9:
        return data[: 10 + length] + _damage_values(values, random)
    if way == 0:
        return data[:6] + bytes([random.randrange(5), random.randrange(3)]) + data[8:]
    if way == 1:
        return data[:8] + struct.pack("<H", random.randrange(65536)) + data[10:]
    if way == 2:
        return data[: 10 + length] + damage_bytes(values, random)
    if way < 5:
        return data[: 10 + length] + _damage_values(values, random)
    header = damage_bytes(header, random) if way == 5 else _damage_header(header, random)
    return data[:8] + struct.pack("<H", len(header) & 0xFFFF) + header + values


def _damage_whole(data: bytes, random: Random) -> bytes:
    """Turn the array into another one, whose header and data go together."""
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False, max_header_size=1000)
        changed = np.asarray(damage_array(array, random))
        return data if changed.dtype.hasobject else array_file(changed)
    except Exception:  # damaged before: whatever NumPy says, this way of damage is closed
        return damage_bytes(data, random)


def _damage_header(header: bytes, random: Random) -> bytes:
    text = header.decode("latin-1")
    way = random.randrange(4)
    if way == 0:
        text = re.sub(r"'descr': '[^']*'", f"'descr': {random.choice(TYPES)!r}", text)
    elif way == 1:
        described = f"'descr': {random.choice(DESCRIPTIONS)}"
        text = re.sub(r"'descr': '[^']*'", lambda _: described, text)
    elif way == 2:
        found = re.search(r"\(([^)]*)\)", text)
        sizes = re.findall(r"\d+", found[1]) if found else []
        if sizes and random.random() < 0.6:
            _damage_sizes(sizes, random)
            shape = f"({', '.join(sizes)},)"
        else:
            shape = random.choice(SHAPES)
        text = re.sub(r"\([^)]*\)", lambda _: shape, text, count=1)
    else:
        text = re.sub("False|True", lambda old: "True" if old[0] == "False" else "False", text)
    return text.encode("latin-1")


def _damage_sizes(sizes: list[str], random: Random) -> None:
    """Change one axis, or two so that the product stays."""
    at, other = random.randrange(len(sizes)), random.randrange(len(sizes))
    if random.random() < 0.5:
        sizes[at], sizes[other] = sizes[other], sizes[at]
    elif random.random() < 0.5:
        sizes[at] = str(int(sizes[at][:9]) * int(sizes[other][:9]))
        sizes[other] = "1"
    else:
        sizes[at] = str(random.choice(INTEGERS))


def _damage_values(values: bytes, random: Random) -> bytes:
    width = random.choice((2, 4, 8))
    count = len(values) // width
    if not count:
        return values
    wild: tuple[bytes, ...] = tuple(
        struct.pack({2: "<e", 4: "<f", 8: "<d"}[width], number)
        for number in (float("nan"), float("inf"), -float("inf"), 0.0, 1e-7, -6e4)
    )
    wild += (b"\xff" * width, b"\x00" * width, b"\xff" * (width - 1) + b"\x7f")
    data = bytearray(values)
    for _ in range(random.choice((1, 1, 5, count))):
        at = random.randrange(count) * width
        data[at : at + width] = random.choice(wild)
    return bytes(data)


def damage_zip(data: bytes, random: Random) -> bytes:
    """Change what an archive says about its members."""
    way = random.randrange(9)
    if way < 5:
        return _damage_record(data, random)
    if way == 5:
        return damage_bytes(data, random)
    members = _members(data)
    if not members:
        return damage_bytes(data, random)
    at = random.randrange(len(members))
    name, content = members[at]
    if way == 6:
        members[at] = (wild_name(name, random), content)
    elif way == 7:
        _add_members(members, name, content, random)
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    return pack(members, method)


def pack(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an archive of the members; a name may occur twice."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode())
            archive.NameToInfo.pop(info.filename, None)  # or zipfile warns of the second
            archive.writestr(info, content, method)
    return file.getvalue()


def _members(data: bytes) -> list[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if sum(info.file_size for info in infos) > 1 << 20:
                return []
            return [(info.filename, archive.read(info)) for info in infos]
    except Exception:  # damaged before: whatever zipfile says, this way of damage is closed
        return []


def _add_members(
    members: list[tuple[str, bytes]], name: str, content: bytes, random: Random
) -> None:
    stem, dot, suffix = name.rpartition(".")
    way = random.randrange(5)
    if way == 0:
        members.append((name, random.choice((content, b"", damage_bytes(content, random)))))
    elif way == 1:
        members.append((f"{stem}x{dot}{suffix}", bytes(random.choice((10**5, 3 * 10**6)))))
    elif way == 2:
        members += [(f"{stem}{number}{dot}{suffix}", b"") for number in range(500)]
    elif way == 3:
        members.append((f"{stem}y{dot}{suffix}", pack([(name, content)])))
    else:
        members[:] = [(f"{'d/' * 200}{name}", content)]


RECORDS = {  # signature -> places and widths of its fields
    b"PK\x01\x02": (
        (4, 2), (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2),
        (34, 2), (38, 4), (42, 4), (46, 1), (47, 2),
    ),
    b"PK\x03\x04": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2), (30, 1)),
    b"PK\x05\x06": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
}  # fmt: skip


def _damage_record(data: bytes, random: Random) -> bytes:
    """Change one field of a local header, a directory entry or the end record."""
    signature = random.choice(list(RECORDS))
    places = [found.start() for found in re.finditer(re.escape(signature), data)]
    if not places:
        return damage_bytes(data, random)
    offset, width = random.choice(RECORDS[signature])
    at = random.choice(places) + offset
    old = int.from_bytes(data[at : at + width], "little")
    new = random.choice(
        (old + 1, old - 1, old ^ 1, old ^ 0x800, old ^ 8, 12, 14, 9, 99, random.choice(INTEGERS))
    )
    return data[:at] + (new % (1 << 8 * width)).to_bytes(width, "little") + data[at + width :]


def wild_name(name: str, random: Random) -> str:
    """Return a name like ``name`` that a reader may not expect."""
    stem, dot, suffix = name.rpartition(".")
    base = stem.rpartition("/")[2]
    return random.choice(
        (
            f"../../{name}", f"/{name}", f"C:\\{name}", f"a/../{name}", f"{stem}\n{dot}{suffix}",
            f"{stem}\x1b[31m{dot}{suffix}", f"{stem}{dot}{suffix.upper()}", f"__MACOSX/{name}",
            f".{name}", f"{'x' * 250}{dot}{suffix}", f"{dot}{suffix}", f"{base}{dot}{suffix}",
            f"sub/{name}", f"{stem} {dot}{suffix}", f"{stem}\u202e{dot}{suffix}",
            f"{damage_bytes(stem.encode(), random).decode('latin-1')}{dot}{suffix}",
            re.sub(r"\d", lambda _: str(random.randrange(10)), name, count=random.randrange(1, 9)),
            re.sub(r"\d+", random.choice(("0", "00000", "9999999999999", "999")), name, count=1),
            f"{stem}{dot}{suffix}.txt", stem or "x", f"{stem}{dot}{suffix}/",
        )
    )  # fmt: skip


def damage_npz(data: bytes, random: Random) -> bytes:
    """Change an archive of arrays: an array, the names, or the archive itself."""
    members = _members(data)
    if not members or random.random() < 0.15:
        return damage_zip(data, random)
    at = random.randrange(len(members))
    name, content = members[at]
    way = random.randrange(10)
    if way < 6:
        members[at] = (name, damage_npy(content, random))
    elif way == 6:
        del members[at]
    elif way == 7:
        members[at] = (random.choice(members)[0], content)
    elif way == 8:
        members.append((wild_name(name, random), content))
    else:
        members[at] = (name, array_file(wild_array(random)))
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    return pack(members, method)


def array_file(array: np.ndarray[Any, Any]) -> bytes:
    """Return an array as the bytes of a ``.npy`` file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def wild_array(random: Random) -> np.ndarray[Any, Any]:
    """Return an array of an odd type or shape."""
    makers: tuple[Callable[[], Any], ...] = (
        lambda: np.zeros(0), lambda: np.array(1.5), lambda: np.arange(3), lambda: np.array(["a"]),
        lambda: np.array([b"\xff"]), lambda: np.zeros((1, 1, 1, 1, 1)), lambda: np.ones((2, 0, 3)),
        lambda: np.array([np.nan, np.inf]), lambda: np.full(4, 2**63 - 1),
        lambda: np.full(4, 2**64 - 1, np.uint64), lambda: np.array([True, False]),
        lambda: np.array(["x" * 5000]), lambda: np.zeros(3, "f4,i2"), lambda: np.ones(2, complex),
        lambda: np.zeros((2, 3, 5, 25, 2), np.float16), lambda: np.full((2, 150), 1e300),
        lambda: np.array(["a", "a"]), lambda: np.array([["a", "b"]]), lambda: np.full(3, -5),
    )  # fmt: skip
    array: np.ndarray[Any, Any] = random.choice(makers)()
    return array


def damage_array(array: np.ndarray[Any, Any], random: Random) -> Any:
    ways: tuple[Callable[[], Any], ...] = (
        lambda: array[:0], lambda: array[..., :1], lambda: array[None], lambda: array.reshape(-1),
        lambda: array.T, lambda: array.tolist(), lambda: array.astype("S3"),
        lambda: array.astype(complex), lambda: np.concatenate([array, array]), lambda: array[0],
        lambda: array * 0, lambda: np.where(array == array.flat[0], np.nan, array),
        lambda: array.astype(object), lambda: np.repeat(array, 40, axis=0), lambda: array.tobytes(),
        lambda: np.asfortranarray(array), lambda: array.astype(">f8"), lambda: array.flat[0],
        lambda: np.full_like(array, array.max()), lambda: array[::-1], lambda: array.astype("U5"),
    )  # fmt: skip
    try:
        return random.choice(ways)()
    except (ValueError, IndexError, TypeError):
        return wild_array(random)
