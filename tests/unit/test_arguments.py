from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.arguments import UsageError, parse


class Inner(BaseModel):
    """A section."""

    store: Path | None = None


class Arguments(BaseModel):
    """Do something.

    With two lines of explanation that are far longer than a narrow terminal and have to be wrapped.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    run: Annotated[Path, tyro.conf.Positional]
    """The run."""
    files: Annotated[tuple[int, ...], tyro.conf.Positional] = ()
    out: Path
    """Where to."""
    data: Inner = Inner()
    count: Annotated[int | None, Field(ge=1)] = None
    kind: Literal["red", "green"] = "red"
    weights: tuple[float, ...] | None = None
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    hidden: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()


class Optional(BaseModel):
    """Needs nothing."""

    kind: Annotated[str | None, tyro.conf.Positional] = None


def parsed(line: str) -> Arguments:
    return parse("do", "does", Arguments, line.split())


def test_words_become_the_model() -> None:
    found = parsed("r 1 2 --out o --data.store s --count 3 --kind green --weights .6 -1 --json")
    assert found == Arguments(
        run=Path("r"), files=(1, 2), out=Path("o"), data=Inner(store=Path("s")), count=3,
        kind="green", weights=(0.6, -1.0), as_json=True,
    )  # fmt: skip
    assert parsed("--out=o r").out == Path("o")
    assert parse("do", "", Optional, []) == Optional()
    assert parse("do", "", Optional, ["x"]) == Optional(kind="x")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "--out is missing: Where to"),
        ("r", "--out is missing: Where to"),
        ("--out o", "RUN is missing: The run"),
        ("r --out", "--out needs a value"),
        ("r --out --json", "--out needs a value"),
        ("r --out o --jsno", "unknown option --jsno; nearest: '--json'"),
        ("r --out o --no-json", "unknown option --no-json; nearest: '--json'"),
        ("r --out o --hidden x", "unknown option --hidden"),
        ("r --out o --run x", "unknown option --run"),
        ("r --out o -x", "unknown option -x"),
        ("r --out o --data.stroe s", "unknown option --data.stroe; nearest: '--data.store'"),
        ("r --out o --json=yes", "--json takes no value, found 'yes'"),
        ("r --out o --count x", "--count: found 'x', expected a whole number"),
        ("r --out o --count 0", "--count: found '0', expected a number of at least 1"),
        ("r --out o --kind gren", "expected 'red' or 'green'; nearest: 'green'"),
        ("r --out o --weights 1 x", "--weights: found 'x', expected a number"),
        ("r --out o --weights", "--weights needs a value"),
        ("r 1 x --out o", "FILES: found 'x', expected a whole number"),
    ],
)
def test_wrong_words_are_one_sentence(line: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parsed(line)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "Error" not in str(error.value)


def test_one_word_too_many() -> None:
    with pytest.raises(UsageError, match="one word too many: 'y'; see kinegraph do --help"):
        parse("do", "", Optional, ["x", "y"])


def test_what_the_verb_alone_knows_is_hinted_at() -> None:
    with pytest.raises(UsageError, match=r"unknown option --optmi\.lr; nearest: '--optim\.lr'"):
        parse("do", "", Optional, ["--optmi.lr", "3"], further=["optim.lr"])


def test_help_is_narrow_and_plain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    with pytest.raises(SystemExit) as stop:
        parsed("--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "{None}" not in text
    assert "--no-json" not in text
    assert max(map(len, text.splitlines())) <= 70
