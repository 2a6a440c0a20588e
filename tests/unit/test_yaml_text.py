from __future__ import annotations

import pytest

from kinegraph.errors import RecipeError
from kinegraph.yaml_text import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-1.5E+2", -150.0),
        (".5", 0.5),
        ("3.", 3.0),
        (".inf", float("inf")),
        ("7", 7),
        ("-7", -7),
        ("0", 0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        # Text, whatever YAML 1.1 takes it for.
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("007", "007"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("none", "none"),
        ("e3", "e3"),
        ('"1"', "1"),
        ("[1, a, 2.0]", [1, "a", 2.0]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)
def test_plain_words(text: str, value: object) -> None:
    found = read_yaml(text, where="x")
    assert found == value
    assert type(found) is type(value)


def test_merge_keys_work() -> None:
    text = "base: &b {x: 1, y: 2}\nother: {<<: *b, y: 3}"
    assert read_yaml(text, where="x")["other"] == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "key 'a' stands twice, in line 3 again"),
        ("x: {a: 1, 'a': 2}", "key 'a' stands twice, in line 1 again"),
        ("a: [1", r"expected ',' or '\]'"),
        ("a: b: c", "mapping values are not allowed here"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("{[1]: 2}", "unhashable key"),
        ("\x00", "special characters are not allowed"),
        ("? !!set {a}", "unhashable key"),
    ],
)
def test_what_is_no_yaml_is_one_line(text: str, problem: str) -> None:
    with pytest.raises(RecipeError, match=f"^x is not valid YAML: .*{problem}") as error:
        read_yaml(text, where="x")
    assert "\n" not in str(error.value)
