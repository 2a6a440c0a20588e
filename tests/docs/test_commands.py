"""Every command in the documents could be typed: the verb, its options, recipes and their keys."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinegraph.catalogue import KINDS
from kinegraph.cli import VERBS, main
from kinegraph.recipe import load_recipe, recipe_class
from kinegraph.registry import Config
from kinegraph.reproduction.published import load_plan

from .documents import DOCUMENTS, ROOT, Command, blocks, commands

TYPED = [
    pytest.param(command, id=f"{document}:{command.line}")
    for document in DOCUMENTS
    for command in commands(document)
    if command.words[0] == "kinegraph"
]
PLACEHOLDER = re.compile(r"[A-Z_]+")  # stands for a name of the user's

Check = Callable[[list[str]], str]


@pytest.fixture
def complaint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], registries: None
) -> Check:
    """Parse a command as it would be parsed, without doing it; return what is wrong with it."""
    monkeypatch.chdir(ROOT)
    for verb in VERBS.values():
        module = importlib.import_module(f"kinegraph.commands.{verb.module}")
        monkeypatch.setattr(module, verb.run, _check_recipe)

    def check(words: list[str]) -> str:
        try:
            code = main(words)
        except SystemExit as stop:  # help has been printed
            code = int(stop.code or 0)
        return capsys.readouterr().err if code else ""

    return check


def _check_recipe(arguments: Any) -> int:
    """Do what a verb does first: resolve the recipe or the plan, where it has one."""
    plan = getattr(arguments, "plan", None)
    if plan is not None and not PLACEHOLDER.fullmatch(plan) and not plan.endswith(".yaml"):
        load_plan(plan)
    if getattr(arguments, "recipe", None) is None:
        return 0
    known = not PLACEHOLDER.fullmatch(arguments.recipe) and not arguments.recipe.endswith(".yaml")
    load_recipe(arguments.recipe if known else "ctrgcn", arguments.overrides)
    return 0


@pytest.mark.parametrize("command", TYPED)
def test_commands_parse(command: Command, complaint: Check) -> None:
    words = list(command.words[1:])
    if "..." in words:  # cut short: there is a verb, at least
        assert words[0] == "..." or any(" ".join(words).startswith(f"{verb} ") for verb in VERBS)
    elif not PLACEHOLDER.fullmatch(words[0]):  # as in `kinegraph VERB --help`
        # Sentences name verbs without all that they need.
        words = ["ctrgcn" if word in ("RECIPE", "NAME") else word for word in words]
        assert complaint(words if command.fenced else [*words, "--help"]) == ""


@pytest.mark.parametrize(
    "line",
    [
        "trian ctrgcn",
        "train ctrgn",
        "train ctrgcn --optim.lrr 0.1",
        "train ctrgcn --training.epochs many",
        "train ctrgcn --backbone.name tiny",
        "train ctrgcn --plugin examples/tiny.py",
        "test RUN --baseline",
        "reproduce ctrgcn:ucla",
        "data import arrays",
    ],
)
def test_a_wrong_command_is_found(line: str, complaint: Check) -> None:
    assert complaint(line.split()).startswith("kinegraph")


def test_recipe_keys_in_sentences_exist() -> None:
    """`training.repeat` and the like, in backticks, are keys of the recipe."""
    sections = {
        name: {key for config in _configs(field.annotation) for key in config.model_fields}
        for name, field in recipe_class().model_fields.items()
        if name not in ("transforms", "summary", "stream", "seed", "quirks")
    }
    key = re.compile(rf"`(?:--)?({'|'.join(sections)})\.(\w+)")
    for document in DOCUMENTS:
        for section, name in key.findall((ROOT / document).read_text("utf-8")):
            if name not in ("py", "md"):
                assert name in sections[section], f"{document}: {section}.{name}"


def _configs(annotation: Any) -> list[type[Config]]:
    """Return the configurations that a key of the recipe may have."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [config for part in getattr(annotation, "__args__", ()) for config in _configs(part)]


def test_make_targets_and_files_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for document in DOCUMENTS:
        for command in commands(document):
            where = f"{document}:{command.line}"
            if command.words[0] == "make":
                assert command.words[1] in targets, where
            if command.words[0] == "python" and command.words[1].endswith(".py"):
                assert (ROOT / command.words[1]).is_file(), where
            if "-r" in command.words:
                assert (ROOT / command.words[command.words.index("-r") + 1]).is_file(), where


def test_help_texts_name_lists_that_exist() -> None:
    named = {
        (str(file.relative_to(ROOT)), kind)
        for file in sorted((ROOT / "src").rglob("*.py"))
        for kind in re.findall(r"`kinegraph list ([a-z-]+)", file.read_text("utf-8"))
    }
    assert named
    assert [place for place in named if place[1] not in KINDS] == []


def test_readme_names_every_verb() -> None:
    rows = re.findall(r"^\| `([a-z ]+)` \|", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert rows == list(VERBS)


def test_readme_opens_with_two_commands() -> None:
    first = blocks(Path("README.md"))[0]
    assert first.line < 5
    assert [line.split("#")[0].strip() for line in first.text.splitlines()] == [
        "make demo",
        "make test",
    ]
