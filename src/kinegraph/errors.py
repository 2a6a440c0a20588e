"""Typed errors. Every one of them ends, on the command line, as a single line and exit code 2.

A message says what was wrong, where, what was found, what was expected, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_MESSAGE = 2000  # characters; names in a damaged file can be as long as the file
LARGEST_SHOWN = 10**30  # whole numbers up to here are written out


class KinegraphError(Exception):
    """Base of all errors that a user can cause and repair.

    The message is one line of printable characters, whatever the names in it: file names may hold
    line ends, terminal controls and bytes that are no text; they are shown escaped. The middle of
    one that is far too long is left out.
    """

    def __init__(self, message: str) -> None:
        message = printable(message)
        if len(message) > LONGEST_MESSAGE:
            end = LONGEST_MESSAGE // 4
            message = f"{message[: LONGEST_MESSAGE - end - 5]} ... {message[-end:]}"
        super().__init__(message)


class RecipeError(KinegraphError):
    """A recipe or a command line asks for something that does not exist or does not fit."""


class LayoutError(KinegraphError):
    """A skeleton layout is unknown, malformed, or does not fit the data."""


class ClipError(KinegraphError):
    """One recording cannot be used: empty, truncated, not finite, of another layout."""


class RepeatedClipError(ClipError):
    """A clip has the name of an earlier one."""


class SourceError(KinegraphError):
    """Recordings cannot be read at all: no such source, an unknown form, an unsafe archive."""


class FetchError(KinegraphError):
    """A data set cannot be downloaded, or what came is not what was expected."""


class SplitError(KinegraphError):
    """A split is unknown, or the clips of a store do not tell what its rule needs."""


class StoreError(KinegraphError):
    """A store cannot be opened: not a store, cut short, of another version, inconsistent."""


class ScoreError(KinegraphError):
    """Score files cannot be read, or do not speak of the same clips and classes."""


class TextError(KinegraphError):
    """Descriptions of classes, answers about them, or their features cannot be used."""


class CheckpointError(KinegraphError):
    """A checkpoint cannot be read or does not fit what it is used for."""


class TrainingError(KinegraphError):
    """A run cannot start or cannot go on."""


class OutputError(KinegraphError):
    """A result cannot be written: it exists already, or the disk refuses."""


def printable(text: str) -> str:
    """Return a text with every unprintable character, such as a line end, escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object, length: int = 40) -> str:
    """Show a value from a file in a few characters, whatever it is.

    Writing out a list that is nested deeply, or that holds another one many times, would take for
    ever, and Python refuses to write out numbers of thousands of digits.
    """
    if isinstance(value, str | bytes):
        return repr(value[:length]) + ("..." if len(value) > length else "")
    if value is None or isinstance(value, bool | float):
        return repr(value)
    if isinstance(value, int) and abs(value) < LARGEST_SHOWN:
        return repr(value)
    return f"a value of type {type(value).__name__}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; nearest: 'x'"`` for the known word most like ``word``, or an empty string."""
    matches = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.5)
    return f"; nearest: '{matches[0]}'" if matches else ""


def unknown(kind: str, word: str, known: Iterable[str]) -> str:
    """Word the message for a name that is not among the known ones of its kind."""
    names = sorted(str(k) for k in known)
    return f"unknown {kind} '{word}'{nearest(word, names)} (known: {', '.join(names)})"
