"""Tables of text features: those that come along, and files of one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from kinegraph.errors import OutputError, TextError
from kinegraph.text.description import description_names, load_descriptions, texts_hash
from kinegraph.text.encoder import PACKAGED, PACKAGED_HASH
from kinegraph.text.table import TextTable, load_table, save_table, table_names


def some_table(classes: int = 3, width: int = 8) -> TextTable:
    random = np.random.default_rng(0)
    return TextTable(
        names=random.standard_normal((2 * classes, width)).astype(np.float16),
        counts=np.full(classes, 2),
        parts=random.standard_normal((4, classes, width)).astype(np.float16),
        classes=tuple(f"class {k}" for k in range(classes)),
        encoder="made",
        encoder_hash="1",
        texts_hash="2",
    )


def test_each_description_has_a_table() -> None:
    assert table_names() == description_names()


@pytest.mark.parametrize("name", description_names())
def test_what_comes_along_belongs_to_the_descriptions(name: str) -> None:
    table, texts = load_table(name), load_descriptions(name)
    assert table.texts_hash == texts_hash(texts), "made again? see docs/guides/lst.md"
    assert table.classes == tuple(one.name for one in texts)
    assert table.counts.tolist() == [len(one.names) for one in texts]
    assert (table.encoder, table.encoder_hash) == (PACKAGED, PACKAGED_HASH)
    for features in (table.names, *table.parts):
        lengths = np.linalg.norm(features.astype(np.float32), axis=1)
        np.testing.assert_allclose(lengths, 1, atol=1e-2)


def test_a_name_is_nearer_to_its_synonyms_than_to_other_classes() -> None:
    table = load_table("ntu120")
    names = table.names.astype(np.float32)
    owner = np.repeat(np.arange(120), table.counts)
    first = names[np.cumsum(table.counts) - table.counts]
    near = names @ first.T  # (S, K)
    assert (near.argmax(1) == owner).mean() > 0.7  # 0.2 are the names themselves


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_table(some_table(), path)
    found = load_table(str(path))
    for name in ("names", "counts", "parts"):
        np.testing.assert_array_equal(getattr(found, name), getattr(some_table(), name))
    assert found.classes == ("class 0", "class 1", "class 2")
    assert (found.encoder, found.encoder_hash, found.texts_hash) == ("made", "1", "2")
    with pytest.raises(OutputError, match="without --force"):
        save_table(some_table(), path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    with pytest.raises(TextError, match="cannot be read"):
        load_table(str(path))
    path.write_bytes(b"nonsense")
    with pytest.raises(TextError, match="is damaged"):
        load_table(str(path))
    save_file({"names": np.zeros(3)}, path)
    with pytest.raises(TextError, match="is no text table"):
        load_table(str(path))
    with pytest.raises(TextError, match=r"unknown text table 'ntu'.*kinegraph text encode"):
        load_table("ntu")


def test_tables_that_do_not_fit_are_refused() -> None:
    table = some_table()
    with pytest.raises(TextError, match="do not fit each other"):
        replace(table, classes=table.classes[:2])
    with pytest.raises(TextError, match="do not fit each other"):
        replace(table, counts=np.array([2, 2, 3]))
    with pytest.raises(TextError, match="not finite"):
        replace(table, parts=table.parts * np.float16(np.nan))
