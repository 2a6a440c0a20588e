"""``kinegraph data fetch`` as a user types it, and the list of data sets that it knows."""

from __future__ import annotations

import importlib
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from kinegraph.arguments import parse
from kinegraph.cli import VERBS, find_verb, main
from kinegraph.data.fetching.sources import DataSource, load_sources
from kinegraph.data.formats import FORMATS, Options

from .site import Site

SOURCES = load_sources()


def fetch(*words: object) -> int:
    return main(["data", "fetch", *map(str, words)])


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert fetch(*words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()[-1]


def test_all_data_sets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch() == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in SOURCES)
    direct, rest = out.split("\n\n")
    assert direct.startswith("fetched by kinegraph data fetch NAME\n  nw-ucla ")
    assert "  ntu120 " in rest
    assert out.count("terms: ") == len(SOURCES)


def test_what_must_be_asked_for_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch("ntu120", "--out", tmp_path / "my files") == 0
    out = capsys.readouterr().out
    source = SOURCES["ntu120"]
    assert f"page: {source.page}\nterms: {source.terms}\ndo: {source.ask}\n" in out
    assert "nturgbd_skeletons_s001_to_s017.zip, nturgbd_skeletons_s018_to_s032.zip" in out
    assert f"then: kinegraph data import ntu120 '{tmp_path / 'my files'}' --out ntu120\n" in out
    assert not list(tmp_path.iterdir())


def test_a_fetched_file_and_the_next_command_are_named(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("nw-ucla", "--url", f"{site.address}/x?dl=1", "--out", tmp_path)
    assert fetch(*words) == 0
    captured = capsys.readouterr()
    path = tmp_path / "all_sqe.zip"
    assert path.read_bytes() == site.content
    assert captured.err == f"terms: {SOURCES['nw-ucla'].terms} ({SOURCES['nw-ucla'].page})\n"
    fetched, after = captured.out.splitlines()
    assert fetched.startswith(f"{path} fetched: 0.1 MB, sha256 ")
    assert after == f"next: kinegraph data import nw-ucla {path} --out nw-ucla"
    assert fetch(*words) == 0
    assert f"{path} is there, unchanged: " in capsys.readouterr().out
    path.write_bytes(b"else")
    assert "is not what was fetched" in refused(capsys, *words)
    assert fetch(*words, "--force") == 0
    capsys.readouterr()
    assert refused(capsys, *words, "--sha256", "0" * 64).startswith("kinegraph data fetch: ")


def test_the_address_of_the_list_is_fetched(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{site.address}/all.zip"
    fields = {"name": "all_sqe.zip", "url": url}
    source = DataSource.model_validate(
        SOURCES["nw-ucla"].model_dump(by_alias=True) | {"files": [fields]}
    )
    monkeypatch.setattr("kinegraph.commands.data_fetch.find_source", lambda name: source)
    assert fetch("nw-ucla", "--out", tmp_path) == 0
    assert (tmp_path / "all_sqe.zip").read_bytes() == site.content


def test_a_link_of_ones_own_leads_to_the_file_it_is_named_after(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = "nturgbd_skeletons_s018_to_s032.zip"
    assert fetch("ntu120", "--url", f"{site.address}/a/{second}?key=1", "--out", tmp_path) == 0
    assert (tmp_path / second).read_bytes() == site.content
    assert "still to come: nturgbd_skeletons_s001_to_s017.zip\n" in capsys.readouterr().out
    message = refused(capsys, "ntu120", "--url", f"{site.address}/x.zip", "--out", tmp_path)
    assert "x.zip' ends in none of the files of 'ntu120': nturgbd_skeletons_s001" in message


def test_each_data_set_has_a_folder_of_its_own(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fetch("sbu") == 0
    assert "then: kinegraph data import sbu downloads/sbu --out sbu\n" in capsys.readouterr().out
    assert fetch("nw-ucla", "--url", f"{site.address}/x") == 0
    assert (tmp_path / "downloads" / "nw-ucla" / "all_sqe.zip").read_bytes() == site.content


@pytest.mark.parametrize(("words", "said"), [
    (["nw-ulca"], "unknown data set 'nw-ulca'; nearest: 'nw-ucla'"),
    (["--force"], "name a data set"),
    (["--sha256", "0" * 64], "name a data set"),
    (["ntu60", "--force"], "must be asked for on https://rose1"),
    (["nw-ucla", "--url", "all_sqe.zip"], "'all_sqe.zip' is no address"),
])  # fmt: skip
def test_wrong_words_are_answered_in_a_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, *words)


def test_an_interrupted_download_says_how_to_go_on(site: Site, tmp_path: Path) -> None:
    site.declared, site.hold = len(site.content) + 1, 20.0
    command = [sys.executable, "-m", "kinegraph", "data", "fetch", "nw-ucla",
               "--url", f"{site.address}/all.zip", "--out", str(tmp_path)]  # fmt: skip
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    part = tmp_path / "all_sqe.zip.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "what has come of all_sqe.zip is kept: the same command goes on from there" in said
    assert "Traceback" not in said
    site.declared, site.hold = None, 0.0
    assert fetch("nw-ucla", "--url", f"{site.address}/all.zip", "--out", tmp_path) == 0
    assert (tmp_path / "all_sqe.zip").read_bytes() == site.content


@pytest.mark.parametrize("name", SOURCES)
def test_sources_name_addresses_and_commands_that_work(name: str, tmp_path: Path) -> None:
    source = SOURCES[name]
    assert source.page.startswith("https://")
    assert source.direct != bool(source.ask)
    for file in source.files:
        assert Path(file.name).name == file.name
        if file.url:
            assert file.url.startswith("https://")
            assert urlsplit(file.url).path.endswith(f"/{file.name}")
    words = shlex.split(source.next_command(tmp_path))
    assert words[:3] == ["kinegraph", "data", "import"]
    verb, rest = find_verb(words[1:])
    module = importlib.import_module(f"kinegraph.commands.{VERBS[verb].module}")
    arguments = parse(verb, "", getattr(module, VERBS[verb].arguments), rest)
    options = {key: getattr(arguments, key) or None for key in Options.__dataclass_fields__}
    FORMATS[arguments.format].check(Options(**options))  # type: ignore[attr-defined]
