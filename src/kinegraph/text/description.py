"""Descriptions of classes: a name, synonyms, and what six parts of the body do. Needs no torch.

They are kept in TOML, one table per class in the order of the labels; the published files of LST
and GAP can be read as well.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from kinegraph.errors import TextError, nearest, unknown

FIELDS = ("head", "hand", "arm", "hip", "leg", "foot")
LISTS = {"synonyms": "a list of texts", "texts": "a list of texts"}
ENDING = ".toml"


@dataclass(frozen=True)
class Description:
    """What is said about one class.

    Attributes:
        name: The class.
        synonyms: Other names of it.
        head: What the head does, with "head" in front left out: "tips back to swallow". Likewise
            ``hand``, ``arm``, ``hip``, ``leg`` and ``foot``.
        texts: What `prompts` returns, letter by letter; empty: it is made of the fields.
    """

    name: str
    synonyms: tuple[str, ...] = ()
    head: str = ""
    hand: str = ""
    arm: str = ""
    hip: str = ""
    leg: str = ""
    foot: str = ""
    texts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The name, then its synonyms."""
        return (self.name, *self.synonyms)

    def prompts(self) -> tuple[str, str, str, str]:
        """Return the texts about head, hand and arm, hip, leg and foot.

        Differs from the original: a comma and a blank follow the name in all of them.
        """
        if self.texts:
            head, hand, hip, foot = self.texts
            return head, hand, hip, foot
        told = {field: f"{field} {getattr(self, field)}" for field in FIELDS}
        return (
            f"{self.name}, {told['head']}",
            f"{self.name}, {told['hand']}, {told['arm']}",
            f"{self.name}, {told['hip']}",
            f"{self.name}, {told['leg']}, {told['foot']}",
        )


Descriptions = tuple[Description, ...]


def description_names() -> tuple[str, ...]:
    """Return the names of the descriptions that come with kinegraph, sorted."""
    folder = resources.files("kinegraph") / "text" / "descriptions"
    return tuple(
        sorted(f.name.removesuffix(ENDING) for f in folder.iterdir() if f.name.endswith(ENDING))
    )


def load_descriptions(name: str) -> Descriptions:
    """Return descriptions by name, or read them from a ``.toml`` file.

    Raises:
        TextError: There are none of this name, or the file is malformed.
    """
    if name.endswith(ENDING):
        return parse_descriptions(read_text(Path(name)), where=name)
    if name not in description_names():
        raise TextError(
            unknown("descriptions", name, description_names()) + "; your own are a .toml file"
        )
    file = resources.files("kinegraph") / "text" / "descriptions" / (name + ENDING)
    return parse_descriptions(file.read_text(encoding="utf-8"), where=name)


def parse_descriptions(text: str, *, where: str) -> Descriptions:
    """Parse the TOML of descriptions.

    Raises:
        TextError: It is no TOML, or a table has other fields.
    """
    try:
        fields = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TextError(f"descriptions '{where}' are not valid TOML: {error}") from error
    tables = fields.get("class")
    if set(fields) != {"class"} or not isinstance(tables, list) or not tables:
        raise TextError(f"descriptions '{where}' must be tables [[class]], one for each class")
    return tuple(_description(table, f"class {i} of '{where}'") for i, table in enumerate(tables))


def _description(table: object, place: str) -> Description:
    """Make a description of a table."""
    if not isinstance(table, Mapping):
        raise TextError(f"{place} is no table")
    known = ("name", "synonyms", *FIELDS, "texts")
    for field, value in table.items():
        if field not in known:
            raise TextError(f"{place} has a field '{field}'{nearest(str(field), known)}")
        is_list = isinstance(value, list) and all(isinstance(word, str) for word in value)
        if not (is_list if field in LISTS else isinstance(value, str)):
            raise TextError(f"'{field}' of {place} must be {LISTS.get(field, 'a text')}")
        if field == "texts" and len(value) != 4:
            raise TextError(f"'texts' of {place} must be 4, about head, hand and arm, hip, foot")
    values: dict[str, Any] = {field: _clean(table.get(field, "")) for field in ("name", *FIELDS)}
    if not values["name"]:
        raise TextError(f"{place} has no name")
    lists: dict[str, Any] = {field: tuple(map(_clean, table.get(field, ()))) for field in LISTS}
    return Description(**values, **lists)


def _clean(text: str) -> str:
    return " ".join(text.split())


def to_toml(descriptions: Iterable[Description], heading: str) -> str:
    """Return descriptions as TOML with a comment on top."""
    lines = [f"# {line}" for line in heading.splitlines()]
    for one in descriptions:
        lines += ["", "[[class]]", f"name = {_quoted(one.name)}"]
        lines.append(f"synonyms = [{', '.join(map(_quoted, one.synonyms))}]")
        lines += [f"{field} = {_quoted(getattr(one, field))}" for field in FIELDS]
        if one.texts:
            lines.append(f"texts = [{', '.join(map(_quoted, one.texts))}]")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string is a TOML string


def texts_hash(descriptions: Sequence[Description]) -> str:
    """Return the SHA-256 of all texts that an encoder is given."""
    texts = [[*one.names, *one.prompts()] for one in descriptions]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def read_published(
    parts: Path, synonyms: Path | None = None, *, verbatim: bool = False
) -> Descriptions:
    """Read the published files of LST and GAP.

    Args:
        parts: A line for each class: name; head; hand; arm; hip; leg; foot. Some repeat the part
            in front, such as ``head: ...``; that is removed.
        synonyms: A line for each class: name, synonym, synonym ...
        verbatim: Whether the prompts are to be those of the original, letter by letter.

    Raises:
        TextError: A line has another number of fields, or the files name different numbers of
            classes.
    """
    found = []
    for number, line in enumerate(_lines(parts), start=1):
        name, *told = line.split(";")
        if len(told) != len(FIELDS):
            raise TextError(
                f"line {number} of '{parts}' has {len(told) + 1} fields between ';', expected 7:"
                f" name; {'; '.join(FIELDS)}"
            )
        values: dict[str, Any] = {
            field: bare(field, _clean(text)) for field, text in zip(FIELDS, told, strict=True)
        }
        texts = tuple(_clean(text) for text in _verbatim(name, *told)) if verbatim else ()
        found.append(Description(name=_clean(name), **values, texts=texts))
    if not found:
        raise TextError(f"'{parts}' is empty")
    if synonyms is None:
        return tuple(found)
    rows = [[_clean(word) for word in line.split(",")] for line in _lines(synonyms)]
    if len(rows) != len(found):
        raise TextError(f"'{synonyms}' has {len(rows)} classes, '{parts}' has {len(found)}")
    return tuple(
        replace(one, synonyms=tuple(filter(None, row[1:])))
        for one, row in zip(found, rows, strict=True)
    )


def _verbatim(
    name: str, head: str, hand: str, arm: str, hip: str, leg: str, foot: str
) -> tuple[str, str, str, str]:
    """Return the original's prompts of a line's fields, most of which begin with a blank.

    Nothing stands between name and hand.
    """
    return f"{name},{head}", f"{name}{hand},{arm}", f"{name},{hip}", f"{name},{leg},{foot}"


def bare(field: str, text: str) -> str:
    """Return what a part does without the part's name in front: ``head: nods`` -> ``nods``."""
    text = re.sub(rf"^\s*{field}s?(?=[\s:]|$)\s*:?", "", text, flags=re.IGNORECASE)
    return text.strip().rstrip(".")


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        TextError: It cannot be read, or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise TextError(f"'{path}' cannot be read: {why}") from error


def _lines(path: Path) -> list[str]:
    return [line for line in read_text(path).splitlines() if line.strip()]
