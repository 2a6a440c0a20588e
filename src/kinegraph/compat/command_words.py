"""A command line of an original program, taken apart into script, words and options.

Place in the flow: ``translate`` asks; what the options say is read in ``original_lines``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from kinegraph.compat.original_flags import SHORT
from kinegraph.errors import RecipeError

PLACEHOLDER, HIDDEN = " <>", "\x00\x01\x02"  # what stands for these inside a placeholder


@dataclass(frozen=True)
class Line:
    """A command line, taken apart.

    Attributes:
        script: Its script without folder and ending, such as ``main``.
        words: What stands before the first option.
        flags: Option, with underscores -> values.
        environment: ``NAME=value`` words in front.
    """

    script: str
    words: tuple[str, ...]
    flags: dict[str, tuple[str, ...]]
    environment: tuple[str, ...] = ()

    def one(self, flag: str, default: str = "") -> str:
        """Return the value of an option."""
        return " ".join(self.flags.get(flag, (default,)))

    def true(self, flag: str) -> bool:
        """Whether an option is set."""
        return flag in self.flags and self.one(flag).lower() in ("", "true", "1", "yes")


def read_line(text: str) -> Line:
    """Split a command line into environment, script, words and options.

    Raises:
        RecipeError: It has no script, its quotes do not match, or it is more than one command.
    """
    words = _words(text)
    environment = []
    while words and re.fullmatch(r"[A-Za-z_]\w*=.*", words[0]):
        environment.append(words.pop(0))
    words = _without_starter(words)
    if not words:
        raise RecipeError("the command line names no script, such as main.py or ensemble.py")
    script = PurePosixPath(words.pop(0)).name.rpartition(".")
    before, flags = _options(words)
    return Line(script[0] or script[2], before, flags, tuple(environment))


def _words(text: str) -> list[str]:
    # A placeholder such as <path to weights> is one word, blanks and all.
    hidden = str.maketrans(PLACEHOLDER, HIDDEN)
    text = re.sub(r"<[^<>\s][^<>]*>", lambda found: found[0].translate(hidden), text.strip())
    lexer = shlex.shlex(
        text.removeprefix("$ ").replace("\\\n", " "), posix=True, punctuation_chars="|&;<>"
    )
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError as error:
        raise RecipeError(f"the command line cannot be read: {error}") from error
    if ends := [word for word in words if word and not word.strip("|&;<>")]:
        raise RecipeError(
            f"'{ends[0]}' is for the shell: give the command alone, without what redirects its"
            " output, and without other commands"
        )
    back = str.maketrans(HIDDEN, PLACEHOLDER)
    return [word.translate(back) for word in words]


def _without_starter(words: list[str]) -> list[str]:
    """Return what is left without the programs that start a script, and their own options."""
    while words:
        word = PurePosixPath(words[0]).name
        several = word == "torchrun"
        if word == "-m" and len(words) > 1:
            several = words[1].startswith("torch.distributed.")
            if not several:  # a module is the script, without its ending
                return [f"{words[1].rpartition('.')[2]}.py", *words[2:]]
        if several:
            scripts = [at for at, other in enumerate(words) if other.endswith(".py")]
            return words[scripts[0] :] if scripts else []
        if not re.fullmatch(r"python[\d.]*(\.exe)?|bash|sh|nohup|time|-u", word):
            break
        words = words[1:]
    return words


def _options(words: Sequence[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    before: list[str] = []
    flags: dict[str, list[str]] = {}
    values = before
    for word in words:
        if word in SHORT:
            values = flags.setdefault(SHORT[word], [])
        elif word.startswith("--"):
            name, sign, value = word.removeprefix("--").partition("=")
            values = flags[name.replace("-", "_")] = [value] if sign else []
        else:
            values.append(word)
    return tuple(before), {name: tuple(found) for name, found in flags.items()}
