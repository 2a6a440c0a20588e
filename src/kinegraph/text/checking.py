"""What is missing in descriptions of classes, or repeated. Needs no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from kinegraph.text.description import FIELDS, Description

# In how many classes a field may read the same. What hands and arms do is the action; below the
# waist, a few actions that are done standing may share a sentence.
LARGEST_SHARE = {"head": 2, "hand": 1, "arm": 1, "hip": 3, "leg": 3, "foot": 3}


def find_faults(
    descriptions: Sequence[Description], classes: Sequence[str] | None = None
) -> list[str]:
    """Return a line for everything that is missing or repeated.

    Args:
        descriptions: To be checked.
        classes: The names that the classes should have, in order; default: whatever they are.
    """
    return [
        *_names(descriptions, classes),
        *_gaps(descriptions),
        *_repeated_names(descriptions),
        *_repeated_fields(descriptions),
        *_untold_fields(descriptions),
    ]


def _names(descriptions: Sequence[Description], classes: Sequence[str] | None) -> Iterable[str]:
    if classes is None:
        return
    described = {letters(one.name) for one in descriptions}
    for name in classes:
        if letters(name) not in described:
            yield f"'{name}' is not described"
    wanted = {letters(name) for name in classes}
    for one in descriptions:
        if letters(one.name) not in wanted:
            yield f"'{one.name}' is none of the classes"
    if described == wanted and [letters(one.name) for one in descriptions] != [
        letters(name) for name in classes
    ]:
        yield "the classes are described in another order than they have"


def _gaps(descriptions: Sequence[Description]) -> Iterable[str]:
    for one in descriptions:
        for field in FIELDS:
            if not getattr(one, field):
                yield f"'{one.name}' does not say what the {field} does"
        if not one.synonyms:
            yield f"'{one.name}' has no synonyms"


def _repeated_names(descriptions: Sequence[Description]) -> Iterable[str]:
    for text, owners in _owners((name, one.name) for one in descriptions for name in one.names):
        if len(owners) > 1:
            yield f"the name '{text}' is given {len(owners)} times: {_some(owners)}"


def _repeated_fields(descriptions: Sequence[Description]) -> Iterable[str]:
    for field in FIELDS:
        told = ((getattr(one, field), one.name) for one in descriptions if getattr(one, field))
        for text, owners in _owners(told):
            if len(owners) > LARGEST_SHARE[field]:
                yield (
                    f"{field} '{text}' stands in {len(owners)} classes, at most"
                    f" {LARGEST_SHARE[field]} may share it: {_some(owners)}"
                )


def _untold_fields(descriptions: Sequence[Description]) -> Iterable[str]:
    """Name fields that were changed where texts are given that an encoder reads instead."""
    for one in descriptions:
        told = letters("".join(one.texts))
        for field in FIELDS if told else ():
            if letters(getattr(one, field)) not in told:
                yield f"the texts of '{one.name}' do not say what its {field} does"


def _owners(pairs: Iterable[tuple[str, str]]) -> Iterable[tuple[str, list[str]]]:
    """Yield each text, as it is first written, with the classes that have it."""
    texts: dict[str, str] = {}
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for text, owner in pairs:
        key = letters(text)
        texts.setdefault(key, text)
        owners[key].append(owner)
    return ((texts[key], found) for key, found in owners.items())


def letters(text: str) -> str:
    """Return the letters and digits of a text in lower case: what is compared."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _some(names: Sequence[str], shown: int = 4) -> str:
    listed = ", ".join(f"'{name}'" for name in names[:shown])
    return listed if len(names) <= shown else f"{listed} and {len(names) - shown} more"
