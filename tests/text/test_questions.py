"""Questions to a language model, its answers, and the commands around them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinegraph.cli import main
from kinegraph.errors import TextError
from kinegraph.text.description import load_descriptions
from kinegraph.text.questions import QUESTIONS, questions, read_answers, read_classes

ANSWER = """\
Sure! Here are the actions:

**class:** wave
- synonyms: greet by hand, wave hello; swing the hand
- **head:** Head looks ahead.
hand: swings
arm: is raised
hip: hips stay
leg: stands
foot: rests

### Class: sit
head: sinks
"""


def test_every_class_is_asked_for_once() -> None:
    text = questions(["wave a hand", "sit"])
    assert text.endswith("- wave a hand\n- sit\n")
    with pytest.raises(TextError, match="two classes are called 'sit'"):
        questions(["sit", "sit"])
    with pytest.raises(TextError, match="no classes"):
        questions([])


def test_the_example_in_the_questions_is_an_answer() -> None:
    (found,) = read_answers(QUESTIONS, where="questions")
    assert found.name == "drink water"
    assert len(found.synonyms) == 3
    assert found.foot == "keeps its place under the drinker"


def test_answers_are_read() -> None:
    wave, sit = read_answers(ANSWER, where="answer")
    assert wave.names == ("wave", "greet by hand", "wave hello", "swing the hand")
    assert (wave.head, wave.hand, wave.hip) == ("looks ahead", "swings", "stay")
    assert (sit.name, sit.head, sit.hand, sit.synonyms) == ("sit", "sinks", "", ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "has no line that begins with 'class:'"),
        ("head: nods", "line 1 of 'x' tells of a 'head' before any 'class:'"),
        ("class: a\nhead: b\nhead: c", "line 3 of 'x' is a second 'head' for 'a'"),
        ("class:", "has a 'class:' without a name"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(TextError, match=message):
        read_answers(text, where="x")


def test_classes_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("wave\n\n sit \n")
    assert read_classes(path) == ("wave", "sit")
    path.write_text("\n")
    with pytest.raises(TextError, match="names no class"):
        read_classes(path)


def test_from_classes_to_descriptions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes, asked = tmp_path / "classes.txt", tmp_path / "asked.txt"
    classes.write_text("wave\nsit\n")
    assert main(["text", "prompt", str(classes), "--out", str(asked)]) == 0
    assert "- sit" in asked.read_text()
    assert main(["text", "prompt", str(classes), "--out", str(asked)]) == 2
    assert "without --force" in capsys.readouterr().err
    answers, mine = tmp_path / "answers.txt", tmp_path / "mine.toml"
    answers.write_text(ANSWER)
    assert main(["text", "import", str(answers), "--out", str(mine)]) == 0
    assert "6 faults" in capsys.readouterr().err
    assert len(load_descriptions(str(mine))) == 2
    assert main(["text", "check", str(mine), "--classes", str(classes)]) == 1
    told = capsys.readouterr().out
    assert "'sit' does not say what the arm does" in told
    assert "'sit' has no synonyms" in told
    assert main(["text", "check", "ntu120"]) == 0
    assert main(["text", "import", str(answers), "--out", str(tmp_path / "mine.txt")]) == 2
    assert "are a .toml file" in capsys.readouterr().err


def test_published_files_are_imported(tmp_path: Path) -> None:
    parts, mine = tmp_path / "parts.txt", tmp_path / "mine.toml"
    parts.write_text("sit;a;b;c;d;e;f\n")
    synonyms = tmp_path / "synonyms.txt"
    synonyms.write_text("sit,take a seat\n")
    words = ["text", "import", str(parts), "--synonyms", str(synonyms), "--out", str(mine)]
    assert main(words) == 0
    (found,) = load_descriptions(str(mine))
    assert (found.names, found.arm) == (("sit", "take a seat"), "c")
