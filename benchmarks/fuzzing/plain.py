"""Damage to bytes, to lines of text and to JSON, in ways that keep most of the rest whole."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

Random = random.Random

# Numbers on which readers have stumbled: limits of types, other notations, other alphabets.
NUMBERS = (
    "0", "-1", "1", "2", "3", "24", "25", "26", "255", "256", "300", "65535", "65536", "2147483647",
    "2147483648", "-2147483649", "4294967296", "9223372036854775807", "9223372036854775808",
    "18446744073709551616", "1" + "0" * 30, "9" * 400, "0.5", "1e999", "-1e999", "1e-400", "1e308",
    "1e39", "nan", "NaN", "inf", "-inf", "Infinity", "1_000", "+5", "0x10", "007", "1.", ".5", "1e",
    "-", "--1", "1,5", "1 2", "", "x", "\u0663\u0664", "1\u00a02", "\x00", "\u2212" + "1", "True",
    "null", "1j", "9007199254740993", "123456789012345678901234567890.1", "0.1e-5", "1E5",
    "99999999.99999999999", "-0", "-0.0", "5e-324", "A" * 3000,
)  # fmt: skip
INTEGERS = (0, 1, 2, 3, 5, 7, 8, 16, 25, 127, 128, 255, 256, 1000, 65535, 65536, 2**31 - 1, 2**31,
            2**32 - 1)  # fmt: skip
COPIES = 64  # how often a piece is repeated at the most


def damage_bytes(data: bytes, random: Random) -> bytes:
    """Change, remove, repeat or insert bytes anywhere."""
    if not data:
        return random.randbytes(random.randrange(64))
    at = random.randrange(len(data))
    end = min(len(data), at + 1 + int(random.expovariate(1 / 8)))
    way = random.randrange(8)
    if way == 0:
        return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]
    if way == 1:
        return data[:at] + random.randbytes(end - at) + data[end:]
    if way == 2:
        return data[:at] + data[end:]
    if way == 3:
        return data[:end] + data[at:end] * random.randrange(1, COPIES) + data[end:]
    if way == 4:
        return data[:at]
    if way == 5:
        return data[at:]
    if way == 6:
        number = random.choice(INTEGERS).to_bytes(8, random.choice(("little", "big")))
        width = random.choice((1, 2, 4, 8))
        return data[:at] + number[:width] + data[at + width :]
    other = random.randrange(len(data))
    return data[:at] + data[other : other + end - at] + data[end:]


def damage_text(data: bytes, random: Random) -> bytes:
    """Change lines, or the words of a line."""
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    way = random.randrange(10)
    if way < 4:
        lines[at] = _damage_line(lines[at], random)
    elif way == 4:
        del lines[at : at + random.randrange(1, 4)]
    elif way == 5:
        lines[at:at] = lines[at : at + random.randrange(1, 30)] * random.randrange(1, 4)
    elif way == 6:
        other = random.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif way == 7:
        _damage_count(lines, random)
    elif way == 8:
        lines = _damage_ends(lines, at, random)
    else:
        return _damage_everywhere(data, random)
    return b"\n".join(lines)


def _damage_line(line: bytes, random: Random) -> bytes:
    mark = b"," if line.count(b",") > line.count(b" ") else b" "
    words = line.split(mark)
    at = random.randrange(len(words))
    way = random.randrange(5)
    if way < 2:
        words[at] = random.choice(NUMBERS).encode()
    elif way == 2:
        del words[at : at + random.randrange(1, 4)]
    elif way == 3:
        words[at:at] = words[at : at + 3] * random.randrange(1, 4)
    else:
        words[at] = damage_bytes(words[at], random)
    return mark.join(words)


def _damage_count(lines: list[bytes], random: Random) -> None:
    """Change a line that is one whole number: in many formats it says how many lines follow."""
    counts = [row for row, line in enumerate(lines) if line.strip().isdigit()]
    if not counts:
        return
    row = random.choice([*counts[:3], random.choice(counts)])
    near = str(int(lines[row][:100].strip() or b"0") + random.choice((-2, -1, 1, 2)))
    lines[row] = random.choice((near, random.choice(NUMBERS))).encode()


def _damage_ends(lines: list[bytes], at: int, random: Random) -> list[bytes]:
    way = random.randrange(4)
    if way == 0:
        return lines[:at]
    if way == 1:
        return [*lines, *lines]
    if way == 2:
        return [*lines[:at], b"", *lines[at:]]
    joined = lines[at] + random.choice((b" ", b"", b",")) + lines[min(at + 1, len(lines) - 1)]
    return [*lines[:at], joined, *lines[at + 2 :]]


def _damage_everywhere(data: bytes, random: Random) -> bytes:
    changes: tuple[Callable[[bytes], bytes], ...] = (
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n", b"\r"),
        lambda text: text.replace(b"\n", b" "),
        lambda text: text.replace(b" ", b"\t"),
        lambda text: text.replace(b" ", b"  "),
        lambda text: text.replace(b",", b" "),
        lambda text: text.replace(b" ", b","),
        lambda text: text.replace(b".", b","),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.decode("latin-1").encode("utf-16"),
        lambda text: text + b"\x00",
        lambda text: text + b"\n\n  \n",
        lambda text: b"",
        lambda text: text + text,
        lambda text: b"\n" * 5000,
    )
    return random.choice(changes)(data)


def damage_json(data: bytes, random: Random) -> bytes:
    """Change one node of the tree; what is no JSON any more is damaged as bytes."""
    if len(data) > 1 << 17:
        return data[: random.randrange(len(data))]
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return damage_bytes(data, random)
    raw: dict[str, str] = {}
    try:
        text = json.dumps(_damage_node(tree, random, raw))
    except RecursionError:
        return damage_bytes(data, random)
    for mark, wild in raw.items():
        text = text.replace(f'"{mark}"', wild)
    return text.encode("utf-8", "replace")


def _damage_node(node: Any, random: Random, raw: dict[str, str]) -> Any:
    """Go down the tree at random and change what is found there."""
    if isinstance(node, dict) and node and random.random() < 0.85:
        key = random.choice(list(node))
        way = random.randrange(12)
        if way == 0:
            return {name: value for name, value in node.items() if name != key}
        if way == 1:
            new = random.choice([*node, _wild_text(random), key.upper(), key + " ", key[:-1]])
            return {(new if name == key else name): value for name, value in node.items()}
        if way == 2:
            return {**node, _wild_text(random): node[key]}
        return {**node, key: _damage_node(node[key], random, raw)}
    if isinstance(node, list) and node and random.random() < 0.85:
        return _damage_list(node, random, raw)
    return _wild_value(node, random, raw)


def _damage_list(node: list[Any], random: Random, raw: dict[str, str]) -> list[Any]:
    at = random.randrange(len(node))
    way = random.randrange(12)
    if way == 0:
        return node[:at] + node[at + 1 :]
    if way == 1:
        return node[:at] + [node[at]] * random.randrange(2, COPIES) + node[at:]
    if way == 2:
        return node[:at]
    if way == 3:
        other = random.randrange(len(node))
        return [node[other] if row == at else value for row, value in enumerate(node)]
    return [*node[:at], _damage_node(node[at], random, raw), *node[at + 1 :]]


def _wild_value(node: Any, random: Random, raw: dict[str, str]) -> Any:
    way = random.randrange(9)
    if way < 3:
        mark = f"raw {len(raw)} {random.randrange(10**9)}"
        deep = random.choice((3, 65, 500, 1023, 1025, 5000))
        numbers = [text for text in NUMBERS if text.isascii() and "\0" not in text]
        raw[mark] = random.choice(
            (random.choice(numbers), "[" * deep + "]" * deep, '{"a":' * deep + "1" + "}" * deep)
        )
        return mark
    if way == 3:
        return [node]
    if way == 4:
        return {"a": node}
    if way == 5:
        return _wild_text(random)
    values = (None, True, False, [], {}, 0, -1, 1, 1e300, -1e300, 0.5, 2**53 + 1, 2**63, 10**25,
              "", "1", [[]], [[[]]], [None], {"": None})  # fmt: skip
    return random.choice(values)


def _wild_text(random: Random) -> str:
    texts = ("", "a", "\x00", "\ud800", "\u202e", "/", "../x", "a\nb", "x" * 5000, "skeletons", "1",
             "nan", "S001C001P001R001A001", "\U0001f600")  # fmt: skip
    return random.choice(texts)
