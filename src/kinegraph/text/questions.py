"""Questions about classes for a language model, and its answers. Needs no torch.

The answer is a block of ``key: value`` lines for each class; marks that language models like to
add, such as bullets and bold type, are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kinegraph.errors import TextError
from kinegraph.text.description import FIELDS, Description, Descriptions, bare, read_text

KEYS = ("class", "synonyms", *FIELDS)
LINE = re.compile(rf"^[\s*_#>`•-]*({'|'.join(KEYS)})[\s*_`]*:[\s*_`]*(.*?)[\s*_`]*$", re.IGNORECASE)

QUESTIONS = """\
I train a program that recognises human actions from the movement of the body's joints. For each
action listed at the end, describe what the parts of the body do while somebody performs it.

Answer in plain text, one block per action, in exactly this form, in the order of the list:

class: drink water
synonyms: take a drink, sip from a cup, have some water
head: tips back to swallow
hand: closes around a cup and brings it to the lips
arm: bends at the elbow and lifts the cup
hip: stays level while drinking
leg: stands at ease during the sip
foot: keeps its place under the drinker

Rules
- Repeat the name of the action after "class:" letter by letter.
- Give at least four synonyms, separated by commas; no synonym may belong to two actions.
- After "head:" and so on, write one short phrase about movement that can be seen, without naming
  the part again.
- No phrase may be used for two actions: say what is special about this one, also where a part
  hardly moves.

The actions
{classes}
"""


def questions(classes: Sequence[str]) -> str:
    """Return the text to give to a language model.

    Raises:
        TextError: There are no classes, or two of one name.
    """
    if not classes:
        raise TextError("there are no classes to ask about")
    for name in classes:
        if classes.count(name) > 1:
            raise TextError(f"two classes are called '{name}'")
    return QUESTIONS.format(classes="\n".join(f"- {name}" for name in classes))


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the names of classes: of a store's, or of a text file with one on each line.

    Raises:
        TextError: The file cannot be read, or names none.
        StoreError: The folder is no store.
    """
    if path.is_dir():
        from kinegraph.data.store import open_store

        return open_store(path).class_names
    names = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not names:
        raise TextError(f"'{path}' names no class: expected one on each line, or a store")
    return names


def read_answers(text: str, *, where: str) -> Descriptions:
    """Read the answers of a language model.

    Raises:
        TextError: There is no block, or a line comes twice in one.
    """
    blocks: list[dict[str, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        match = LINE.match(line)
        if match is None:
            continue
        key, value = match[1].casefold(), match[2]
        if key == "class":
            blocks.append({})
        elif not blocks:
            raise TextError(f"line {number} of '{where}' tells of a '{key}' before any 'class:'")
        if key in blocks[-1]:
            raise TextError(
                f"line {number} of '{where}' is a second '{key}' for '{blocks[-1]['class']}'"
            )
        blocks[-1][key] = value
    if not blocks:
        raise TextError(
            f"'{where}' has no line that begins with 'class:'; the form of answers is shown by:"
            " kinegraph text prompt"
        )
    return tuple(_description(block, where) for block in blocks)


def _description(block: dict[str, str], where: str) -> Description:
    name = block["class"].strip()
    if not name:
        raise TextError(f"'{where}' has a 'class:' without a name")
    synonyms = (word.strip() for word in re.split("[,;]", block.get("synonyms", "")))
    fields: dict[str, Any] = {field: bare(field, block.get(field, "")) for field in FIELDS}
    return Description(name=name, synonyms=tuple(filter(None, synonyms)), **fields)
