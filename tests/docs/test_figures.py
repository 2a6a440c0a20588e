"""Numbers in the guides are what the command beside them prints, given the real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from kinegraph.cli import main

from .documents import blocks, commands_of

ENSEMBLING = Path("docs/guides/ensembling.md")


@pytest.mark.shared
def test_the_published_score_files_give_the_table_of_the_guide(
    shared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (command,) = (
        command
        for block in blocks(ENSEMBLING)
        for command in commands_of(block)
        if "order.txt" in command.words
    )
    (table,) = (block.text for block in blocks(ENSEMBLING) if block.language == "text")
    for file in (shared_folder / "data/scores/frhead-nw-ucla").iterdir():
        (tmp_path / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)
    recordings = shared_folder / "data/nw-ucla/all_sqe.zip"
    assert main(["data", "import", "nw-ucla", str(recordings), "--out", "nw-ucla"]) == 0
    imported = capsys.readouterr().out
    assert imported.startswith("1484 clips of 10 classes")
    assert "split view3: 1020 train, 464 test" in imported
    assert main(list(command.words[1:])) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert printed == [line.rstrip() for line in table.splitlines()]
