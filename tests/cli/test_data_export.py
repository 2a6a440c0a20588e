"""``kinegraph data export`` as a user types it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kinegraph.cli import main
from kinegraph.data.store import open_store


def test_a_store_becomes_files_and_a_store_again(
    make_store: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = make_store()
    out, again = tmp_path / "annotations.pkl", tmp_path / "again"
    words = ["data", "export", str(store), "--format", "pyskl", "--dtype", "float32"]
    assert main([*words, "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(
        "pyskl: 12 annotations, 6 subjects_train, 6 subjects_val in "
    )
    assert len(pickle.loads(out.read_bytes())["annotations"]) == 12
    assert main(["data", "import", "pyskl", str(out), "--out", str(again)]) == 0
    np.testing.assert_array_equal(open_store(again).joints, open_store(store).joints)
    capsys.readouterr()
    assert main([*words, "--out", str(out)]) == 2
    assert "nothing is overwritten without --force" in capsys.readouterr().err
    assert main([*words, "--out", str(out), "--force"]) == 0


def test_an_npz_of_a_split_can_be_trained_on_again(
    make_store: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mine.npz"
    words = ["data", "export", str(make_store()), "--format", "ctrgcn-npz", "--out", str(out)]
    assert main([*words, "--people", "3", "--frames", "20"]) == 0
    assert capsys.readouterr().out == f"ctrgcn-npz: 6 train, 6 test in {out}\n"
    with np.load(out) as found:
        assert found["x_train"].shape == (6, 20, 3 * 17 * 3)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["--format", "stgcn", "--out", "a"],
            "unknown export format 'stgcn'; nearest: 'stgcn-npy'",
        ),
        (["--format", "pyskl", "--out", "a.pkl", "--people", "2"], "means nothing to 'pyskl'"),
        (["--format", "ctrgcn-npz", "--out", "a.npz", "--frames", "0"], "frames"),
    ],
)
def test_wrong_words_end_in_one_line(
    words: list[str],
    complaint: str,
    make_store: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["data", "export", str(make_store()), *words]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("kinegraph data export: ")
    assert complaint in lines[-1]
