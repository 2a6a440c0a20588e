from __future__ import annotations

from pathlib import Path

import pytest

from kinegraph.errors import RecipeError
from kinegraph.recipe_files import read_recipe, read_yaml, recipe_names, recipe_summary


def test_summary_is_that_of_the_whole_recipe() -> None:
    assert recipe_names()
    for name in recipe_names():
        assert recipe_summary(name) == read_recipe(name)["summary"] != ""


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000])
def test_deep_nesting_is_an_error_and_no_crash(text: str) -> None:
    with pytest.raises(RecipeError, match="deep is nested too deeply"):
        read_yaml(text, where="deep")


def test_repeated_key_is_named() -> None:
    with pytest.raises(RecipeError, match="key 'seed' stands twice, in line 3 again"):
        read_yaml("data:\n  seed: 1\n  seed: 2", where="twice")


def test_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_bytes(b"summary: \xff\xfe")
    with pytest.raises(RecipeError, match=r"odd\.yaml' cannot be read"):
        read_recipe(str(file))
