"""The page about data sets speaks of all that there is, and its figures are those of the data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kinegraph.data.cleaning import CLEANINGS
from kinegraph.data.export import EXPORTS
from kinegraph.data.fetching.sources import load_sources
from kinegraph.data.formats import FORMATS
from kinegraph.data.importing import import_data
from kinegraph.data.splits import split_rows
from kinegraph.data.store import open_store

from .documents import ROOT, commands

PAGE = Path("docs/datasets.md")
TEXT = (ROOT / PAGE).read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
REAL = {"nw-ucla": "nw-ucla/all_sqe.zip", "utd-mhad": "utd-mhad/Skeleton.zip", "sbu": "sbu/SBU.zip"}


def section(title: str) -> str:
    """Return the text under a heading, up to the next one of its level."""
    level = "###" if f"\n### {title}\n" in TEXT else "##"
    found = re.search(rf"\n{level} {re.escape(title)}\n(.*?)(?=\n##|\Z)", TEXT, re.DOTALL)
    assert found is not None, title
    return found[1]


def test_every_format_is_imported_somewhere() -> None:
    imported = {
        command.words[3]
        for page in (PAGE, Path("docs/guides/own-data.md"))
        for command in commands(page)
        if command.words[:3] == ("kinegraph", "data", "import") and len(command.words) > 3
    }
    assert imported == set(FORMATS)


def test_every_option_of_a_format_is_explained() -> None:
    named = {option for format_ in FORMATS.values() for option in format_.choices}
    assert named
    assert [option for option in named if f"`--{option}" not in TEXT] == []


def test_every_form_of_export_is_shown() -> None:
    shown = re.findall(r"--format ([a-z-]+)", section("Back to the originals' files"))
    assert sorted(set(shown)) == sorted(EXPORTS)


def test_the_ways_of_cleaning_are_those_that_there_are() -> None:
    table = section("NTU RGB+D 60 and 120").split("| `--cleaning` | what")[1]
    listed = re.findall(r"^\| `([a-z]+)`", table, re.MULTILINE)
    assert listed == list(CLEANINGS)
    assert f"`{next(iter(CLEANINGS))}` (default)" in TEXT


def test_the_page_names_the_pages_and_files_of_every_source() -> None:
    for name, source in load_sources().items():
        if name.startswith("pyskl"):
            continue
        assert source.page in TEXT, name
        for file in source.files:
            pair = re.fullmatch(r"s\d\ds\d\d\.zip", file.name)  # 21 of them, described together
            assert pair or f"`{file.name}`" in TEXT or "v2.txt" in file.name, file.name


def test_real_files_of_every_set_are_named_in_the_readme() -> None:
    assert "](docs/datasets.md)" in README
    for word in ("NTU RGB+D 60 and 120", "Kinetics-skeleton", "PKU-MMD", "UTD-MHAD", "SBU"):
        assert word in README, word


@pytest.mark.shared
@pytest.mark.parametrize("name", REAL)
def test_figures_are_those_of_the_real_data(name: str, shared_folder: Path, tmp_path: Path) -> None:
    import_data(name, shared_folder / "data" / REAL[name], tmp_path / "store")
    store = open_store(tmp_path / "store")
    anchor = {"nw-ucla": "northwestern-ucla", "sbu": "sbu-kinect-interaction"}.get(name, name)
    (row,) = re.findall(rf"^\| \[[^]]+\]\(#{anchor}\) \| (.*)$", TEXT, re.MULTILINE)
    clips, classes, layout, splits = (cell.strip() for cell in row.split("|")[:4])
    assert clips == f"{len(store):,}"
    assert (classes, layout) == (str(store.num_classes), f"`{store.skeleton.name}`")
    assert splits.startswith(f"`{store.default_split}`")
    title = {"nw-ucla": "Northwestern-UCLA", "sbu": "SBU Kinect Interaction"}.get(name, "UTD-MHAD")
    text = section(title)
    size = sum(file.stat().st_size for file in store.path.iterdir()) / 1e6
    assert f"the store takes {size:.{0 if size > 10 else 1}f} MB" in text
    lengths = store.clips["frames"]
    assert f"{lengths.min()} to {lengths.max()} frames" in text
    if name == "sbu":
        sizes = [len(split_rows(store, f"fold{fold}")[1]) for fold in range(1, 6)]
        assert f"{', '.join(map(str, sizes[:4]))} and {sizes[4]} clips" in " ".join(text.split())
    else:
        train, test = (len(rows) for rows in split_rows(store, store.default_split))
        assert f"({train:,})" in text
        assert f"({test:,})" in text
