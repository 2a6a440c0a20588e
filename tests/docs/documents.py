"""Reading our own documents: their code blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md"))
)
SHELLS = ("bash", "console", "sh", "")
MARK = "<!-- runs -->"  # stands above a block that the tests run, see test_guides
ASSIGNMENT = re.compile(r"[A-Z_]+=")
INLINE = re.compile(r"`(kinegraph [^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, where it begins, and whether it is marked to run."""

    language: str
    text: str
    line: int
    runs: bool


@dataclass(frozen=True)
class Command:
    """A command in a document, as words; ``fenced`` ones are complete, others may be cut short."""

    words: tuple[str, ...]
    line: int
    fenced: bool = True


def blocks(document: Path) -> list[Block]:
    """Return the fenced blocks of a document."""
    found, opened, language, before = [], 0, "", ""
    text: list[str] = []
    for number, line in enumerate((ROOT / document).read_text("utf-8").splitlines(), start=1):
        if line.startswith("```"):
            if opened:
                found.append(Block(language, "\n".join(text), opened, before == MARK))
                opened, before = 0, ""
            else:
                opened, language, text = number, line[3:].strip(), []
        elif opened:
            text.append(line)
        else:
            before = line.strip()
    assert not opened, f"{document}:{opened}: the block is never closed"
    return found


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a shell block; in a ``console`` block they begin with a dollar."""
    if block.language not in SHELLS:
        return []
    found = []
    lines = block.text.replace("\\\n", " ").splitlines()
    for offset, line in enumerate(lines, start=1):
        if block.language == "console":
            if not line.startswith("$ "):
                continue
            line = line[2:]
        words: list[str] = []
        for word in [*shlex.split(line.split(" > ")[0], comments=True), "&&"]:
            if word == "&&":
                if words:
                    found.append(Command(tuple(words), block.line + offset))
                words = []
            elif words or not ASSIGNMENT.match(word):
                words.append(word)
    return found


def commands(document: Path) -> list[Command]:
    """Return all commands of a document, those inside of sentences too."""
    found = [command for block in blocks(document) for command in commands_of(block)]
    for number, line in enumerate((ROOT / document).read_text("utf-8").splitlines(), start=1):
        for text in INLINE.findall(line):
            found.append(Command(tuple(shlex.split(text)), number, fenced=False))
    return found
