"""Descriptions of classes: those that come along, files of one's own, and what is found wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kinegraph.cli import main
from kinegraph.data.formats.nw_ucla import CLASSES as NW_UCLA
from kinegraph.data.formats.pku_mmd import CLASSES as PKU_MMD
from kinegraph.data.formats.sbu import CLASSES as SBU
from kinegraph.data.formats.utd_mhad import CLASSES as UTD_MHAD
from kinegraph.errors import TextError
from kinegraph.text.checking import find_faults
from kinegraph.text.description import (
    FIELDS,
    Description,
    Descriptions,
    bare,
    description_names,
    load_descriptions,
    parse_descriptions,
    read_published,
    to_toml,
)


def ntu_names() -> tuple[str, ...]:
    from importlib import resources

    file = resources.files("kinegraph") / "data" / "formats" / "names" / "ntu.txt"
    return tuple(file.read_text(encoding="utf-8").split("\n")[:120])


CLASSES = {
    "ntu120": ntu_names(),
    "nw-ucla": tuple(NW_UCLA.values()),
    "pku-mmd": PKU_MMD,
    "utd-mhad": UTD_MHAD,
    "sbu": SBU,
}


def sample(count: int = 4) -> Descriptions:
    return tuple(
        Description(f"class {k}", (f"kind {k}",), *(f"{field} does {k}" for field in FIELDS))
        for k in range(count)
    )


def test_they_are_all_there() -> None:
    assert set(description_names()) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_what_comes_along_is_whole(name: str) -> None:
    found = load_descriptions(name)
    assert find_faults(found, CLASSES[name]) == []
    assert min(len(one.synonyms) for one in found) >= 3
    # Beyond the check: no sentence occurs twice at all, in whatever field.
    told = [getattr(one, field) for one in found for field in FIELDS]
    assert len(set(told)) == len(told) == 6 * len(CLASSES[name])


@pytest.mark.parametrize("field", FIELDS)
def test_repeated_fields_are_refused(field: str) -> None:
    allowed = {"head": 2, "hand": 1, "arm": 1, "hip": 3, "leg": 3, "foot": 3}[field]
    for share in (allowed, allowed + 1):
        found = [
            replace(one, **{field: "Is Still." if k else "is still"}) if k < share else one
            for k, one in enumerate(sample(5))
        ]
        faults = find_faults(found)
        assert len(faults) == (share > allowed)
        assert all(f"{field} 'is still' stands in {share} classes" in fault for fault in faults)


def test_what_is_missing_is_named() -> None:
    first, second, *_ = sample()
    assert find_faults([replace(first, arm=""), second]) == [
        "'class 0' does not say what the arm does"
    ]
    assert find_faults([replace(first, synonyms=())]) == ["'class 0' has no synonyms"]
    assert find_faults([first], ["class 0", "class 1"]) == ["'class 1' is not described"]
    assert find_faults([first, second], ["class 0"]) == ["'class 1' is none of the classes"]
    assert find_faults([second, first], ["Class 0", "class 1"]) == [
        "the classes are described in another order than they have"
    ]
    assert find_faults([first, replace(second, synonyms=("Kind 0",))]) == [
        "the name 'kind 0' is given 2 times: 'class 0', 'class 1'"
    ]


def test_toml_there_and_back(tmp_path: Path) -> None:
    odd = replace(sample()[0], name='say "é\\"', synonyms=("a, b", "c"))
    path = tmp_path / "mine.toml"
    path.write_text(to_toml((odd, *sample()[1:]), "two\nlines"), encoding="utf-8")
    assert load_descriptions(str(path)) == (odd, *sample()[1:])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class = 1", "must be tables"),
        ("", "must be tables"),
        ("[[class]]\nname = 'a'\nknee = 'b'", "class 0 of 'x' has a field 'knee'"),
        ("[[class]]\nname = 'a'\nhead = 1", "'head' of class 0 of 'x' must be a text"),
        ("[[class]]\nname = 'a'\nsynonyms = 'b'", "must be a list of texts"),
        ("[[class]]\nhead = 'a'", "class 0 of 'x' has no name"),
        ("[[class]]\nname = 'a'\ntexts = ['b']", "'texts' of class 0 of 'x' must be 4"),
        ("[[class", "not valid TOML"),
    ],
)
def test_malformed_descriptions_are_refused(text: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        parse_descriptions(text, where="x")


def test_unknown_descriptions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"unknown descriptions 'ntu12'.*ntu120"):
        load_descriptions("ntu12")
    with pytest.raises(TextError, match="cannot be read"):
        load_descriptions(str(tmp_path / "none.toml"))


def test_the_prompts_hold_every_field_once() -> None:
    prompts = sample()[2].prompts()
    assert prompts[0] == "class 2, head head does 2"
    for field in FIELDS:
        assert sum(f"{field} does 2" in prompt for prompt in prompts) == 1
    assert "hand does 2" in prompts[1]
    assert "arm does 2" in prompts[1]
    assert "foot does 2" in prompts[3]
    assert all(prompt.startswith("class 2, ") for prompt in prompts)


def test_published_files_are_read(tmp_path: Path) -> None:
    parts, synonyms = tmp_path / "parts.txt", tmp_path / "synonyms.txt"
    parts.write_text(
        "drink water; tilts back;grips; bends;stays; stands; rests.\n"
        "sit; head: sinks; hands fold; arm hangs;hip: drops;legs bend;foot: rests\n"
    )
    synonyms.write_text("drink water, sip water,have a drink\nsit,take a seat\n")
    first, second = read_published(parts, synonyms)
    assert first == Description(
        "drink water", ("sip water", "have a drink"),
        "tilts back", "grips", "bends", "stays", "stands", "rests",
    )  # fmt: skip
    assert second == Description(
        "sit", ("take a seat",), "sinks", "fold", "hangs", "drops", "bend", "rests"
    )
    assert [one.synonyms for one in read_published(parts)] == [(), ()]
    synonyms.write_text("drink water\n")
    with pytest.raises(TextError, match=r"has 1 classes, .* has 2"):
        read_published(parts, synonyms)
    parts.write_text("sit;a;b;c\n")
    with pytest.raises(TextError, match=r"line 1 .* has 4 fields between ';', expected 7"):
        read_published(parts)


def test_published_files_are_read_verbatim(tmp_path: Path) -> None:
    parts, out = tmp_path / "parts.txt", tmp_path / "theirs.toml"
    parts.write_text(
        "drink water; head tilts;hand grips; arm bends; hip stays; leg stands;foot rests.\n"
        "sit; head: sinks; hands fold; arm hangs;hip: drops;legs bend;foot:rests\n"
    )
    (tmp_path / "names.txt").write_text("drink water,sip\nsit,have a seat,squat,rest\n")
    words = ["text", "import", str(parts), "--synonyms", str(tmp_path / "names.txt")]
    assert main([*words, "--out", str(out), "--verbatim"]) == 0
    first, second = load_descriptions(str(out))
    assert first.prompts() == (
        "drink water, head tilts",
        "drink waterhand grips, arm bends",
        "drink water, hip stays",
        "drink water, leg stands,foot rests.",
    )
    assert second.prompts() == (
        "sit, head: sinks",
        "sit hands fold, arm hangs",
        "sit,hip: drops",
        "sit,legs bend,foot:rests",
    )
    assert (second.names, second.foot) == (("sit", "have a seat", "squat", "rest"), "rests")
    assert find_faults([first, second]) == []
    assert find_faults([replace(first, arm="swings")]) == [
        "the texts of 'drink water' do not say what its arm does"
    ]
    parts.write_text("class: sit\n")
    assert main(["text", "import", str(parts), "--out", str(out), "--force", "--verbatim"]) == 2


def test_only_the_part_itself_is_taken_off() -> None:
    assert bare("foot", "foot:rests") == "rests"
    assert bare("head", "Head: nods") == "nods"
    assert bare("hand", "handles a cup") == "handles a cup"
    assert bare("leg", "legs : bend.") == "bend"
