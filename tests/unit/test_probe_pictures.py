"""Features on a plane, nearest neighbours as skeletons, and the page that shows them."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kinegraph.cli import main
from kinegraph.data.clip import Clip, Track
from kinegraph.data.store import open_store
from kinegraph.data.store_writer import create_store
from kinegraph.errors import ScoreError
from kinegraph.evaluation.curves import run_charts
from kinegraph.evaluation.embedding_picture import COLOURS, SHAPES, embedding_picture, write_svg
from kinegraph.evaluation.judges import Described
from kinegraph.evaluation.neighbours import (
    HEIGHT,
    WIDTH,
    choose_queries,
    draw_frames,
    find_neighbours,
)
from kinegraph.evaluation.plane import (
    Placed,
    embed_on_plane,
    perplexity_for,
    separation,
    some_of_each_class,
)
from kinegraph.skeleton import load_layout
from kinegraph.training.run_folder import RunFolder

from .html_page import Page

EVIL = "<script>alert('x')</script> & \"quoted\" {{ 7 * 7 }}"
SVG = "{http://www.w3.org/2000/svg}"


def groups(rng: np.random.Generator, each: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Return features of three classes in three directions, and their labels."""
    labels = np.repeat(np.arange(3), each)
    return (np.eye(3)[labels] * 5 + rng.normal(0, 0.3, (3 * each, 3))).astype(np.float32), labels


def test_a_plane_keeps_neighbours_and_repeats(rng: np.random.Generator) -> None:
    x, labels = groups(rng)
    points = embed_on_plane(x)
    assert points.shape == (36, 2)
    assert separation(points, labels) == 1
    np.testing.assert_array_equal(embed_on_plane(x), points)
    # By the cosine: lengths do not count.
    np.testing.assert_allclose(embed_on_plane(x * 4), points, atol=0.05 * np.ptp(points))
    assert embed_on_plane(x[:4]).shape == (4, 2)
    assert np.isfinite(embed_on_plane(x[:, :1])).all(), "one number for each clip"
    assert (embed_on_plane(np.ones((9, 3), np.float32)) == 0).all(), "nothing to tell apart"
    with pytest.raises(ScoreError, match="needs at least 4 test clips, not 3"):
        embed_on_plane(x[:3])
    assert [perplexity_for(clips) for clips in (4, 61, 91, 2000)] == [1, 20, 30, 30]


def test_separation_by_hand() -> None:
    points = np.array([[0.0, 0], [1, 0], [0, 10], [0, 12], [0, 50]])
    # Nearest to each: 1, 0, 3, 2, 3.
    assert separation(points, np.array([0, 0, 1, 2, 2])) == pytest.approx(3 / 5)


def test_classes_take_turns() -> None:
    labels = np.array([0] * 50 + [1] * 3 + [2] * 50)
    some = some_of_each_class(labels, 23)
    assert np.bincount(labels[some]).tolist() == [10, 3, 10]
    assert some.tolist() == sorted(set(some.tolist())) == some_of_each_class(labels, 23).tolist()
    assert some_of_each_class(labels, 1000).tolist() == list(range(103))
    assert len(some_of_each_class(labels[:0], 5)) == 0


def test_every_class_looks_different(tmp_path: Path) -> None:
    labels = np.arange(128)
    placed = Placed(labels, np.stack([labels % 11, labels // 11], axis=1).astype(float), 0.25)
    classes = [EVIL + "\x1b", *(f"class {label}" for label in range(1, 128))]
    names = [f"clip {label}" for label in labels]
    picture = embedding_picture(
        {"encoder": placed, "raw coordinates": placed}, names, labels, classes, title=EVIL
    )
    assert [panel.title for panel in picture.panels] == ["encoder", "raw coordinates"]
    assert picture.panels[0].left + picture.panels[0].side < picture.panels[1].left
    looks = {
        (g.colour, g.filled, re.sub("^M[^m]*", "", g.marks[0].path))
        for g in picture.panels[0].groups
    }
    assert len(looks) == 128 == 2 * len(COLOURS) * len(SHAPES)
    write_svg(tmp_path / "picture.svg", picture)
    tree = ElementTree.parse(tmp_path / "picture.svg")  # it is whole, and names stay text
    assert not tree.findall(f".//{SVG}script")
    titles = [title.text for title in tree.iter(f"{SVG}title")]
    assert "clip 127: class 127" in titles
    assert f"clip 0: {EVIL}\ufffd" in titles
    assert EVIL in titles
    width, height = picture.width, picture.height
    for path in tree.iter(f"{SVG}path"):
        x, y = map(float, re.match(r"M([\d.]+),([\d.]+)", path.get("d") or "").groups())  # type: ignore[union-attr]
        assert 0 <= x <= width
        assert 0 <= y <= height


def made(**changes: Any) -> Described:
    """Return 3 training clips and 6 test clips, of which the last two are taken for others."""
    train = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    answers = np.array([0, 1, 2, 0, 1, 2])
    clips = Described(train, np.arange(3), train[answers] * 2, np.array([0, 1, 2, 0, 2, 0]))
    return replace(clips, **changes)


def test_right_and_wrong_clips_are_shown() -> None:
    assert sorted(choose_queries(made(), 4)[:2].tolist()) == [4, 5]
    assert set(choose_queries(made(), 4)[2:].tolist()) <= {0, 1, 2, 3}
    assert len(set(choose_queries(made(), 6).tolist())) == 6, "few wrong ones: more right ones"
    all_wrong = made(test_y=np.array([1, 2, 0, 1, 2, 0]))
    assert len(set(choose_queries(all_wrong, 4).tolist())) == 4
    assert len(choose_queries(made(), 100)) == 6


def test_neighbours_are_the_nearest_clips(make_store: Callable[..., Path]) -> None:
    store = open_store(make_store(classes=3, per_class=3))
    train, test = np.array([3, 4, 5]), np.array([0, 1, 2, 6, 8, 7])
    queries = find_neighbours(made(), store, train, test, count=6)
    by_name = {query.drawing.title: query for query in queries}
    assert [*by_name][:2] in (["clip 8", "clip 7"], ["clip 7", "clip 8"]), "mistakes come first"
    first = by_name["clip 1"].neighbours[0]
    assert (first.drawing.title, first.label, first.same) == ("clip 4", "class 1", True)
    assert first.alike == pytest.approx(1)
    wrong = by_name["clip 8"]
    assert (wrong.label, wrong.neighbours[0].drawing.title) == ("class 2", "clip 4")
    assert [near.same for near in wrong.neighbours] == [False, False, True]
    assert [near.alike for near in wrong.neighbours] == pytest.approx([1, 0, 0])


def test_frames_stand_side_by_side_in_one_scale() -> None:
    skeleton = load_layout("coco17")
    rng = np.random.default_rng(0)
    pose = rng.uniform(10, 20, (17, 3))
    pose[:, 2] = 1  # a score
    frames = np.stack([pose] * 9)
    frames[3:6, :, 0] += 500  # who walks away is still in the middle of the paper
    floor = frames[0, :, 1].max()  # y runs down in an image
    frames[6:, :, 1] = floor - (floor - frames[6:, :, 1]) / 2  # who sits is lower
    drawing = draw_frames(Clip("a clip", (Track(frames.astype(np.float32)),), 9), skeleton)
    text = "".join(stroke.path for stroke in drawing.strokes)
    spots = np.array(re.findall(r"[ML]([\d.-]+),([\d.-]+)", text), dtype=float)
    assert (spots >= 0).all()
    assert (spots <= (WIDTH, HEIGHT)).all()
    each = [spots[(spots[:, 0] // (WIDTH / 3)) == part] for part in range(3)]
    assert len({len(part) for part in each}) == 1, "as many bones in each"
    np.testing.assert_allclose(np.ptp(each[0], axis=0), np.ptp(each[1], axis=0), atol=0.2)
    assert np.ptp(each[2][:, 1]) == pytest.approx(np.ptp(each[0][:, 1]) / 2, abs=0.2)
    assert each[2][:, 1].max() == pytest.approx(each[0][:, 1].max(), abs=0.2), "one floor"
    nobody = Clip("empty", (Track(np.zeros((5, 17, 3), np.float32)),), 5)
    assert draw_frames(nobody, skeleton).strokes == []


def test_curves_say_what_they_are_good_for() -> None:
    rows = [
        {"epoch": e, "loss": 1 / e, "bone": 2.0, "lr": 0.1, "seconds": 1.0, "test_knn": 0.5,
         "alignment": 0.1, "uniformity": -float(e)} for e in (1, 2, 3)
    ]  # fmt: skip
    charts = run_charts(rows)
    assert [chart.title for chart in charts] == [
        "k-NN accuracy on test clips, watched only", "Loss", "Alignment", "Uniformity",
        "Learning rate",
    ]  # fmt: skip
    assert [line.name for line in charts[1].lines] == ["loss", "bone"]
    chosen = run_charts(rows, "test")[0].title
    assert chosen == "k-NN accuracy on test clips, by which the epoch is chosen"
    rows = [{"epoch": 1, "validation_knn": 0.5}]
    assert run_charts(rows, "validation")[0].title == "k-NN accuracy on validation clips"


@pytest.fixture
def learned(
    tmp_path: Path,
    make_store: Callable[..., Path],
    tiny_recipe: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Path:
    """A run of two epochs without labels, on a store of which a class has a name to be feared."""
    monkeypatch.chdir(tmp_path)
    source = open_store(make_store("plain", per_class=8))
    with create_store(Path("store"), source.skeleton, ["class 0", EVIL], source="") as writer:
        for clip in map(source.clip, range(len(source))):
            writer.add(clip)
        writer.default_split = "subjects"
    crop = [{"name": "crop_resize", "length": 6, "proportion": [0.3, 1.0], "minimum": 3}]
    recipe = tiny_recipe(
        transforms={"query": crop, "key": crop},
        objective={"name": "skeletonclr", "queue": 5, "width": 4},
    )
    Path("tiny.yaml").write_text(yaml.safe_dump(recipe))
    words = ["train", "tiny.yaml", "--data.store", "store", "--device", "cpu", "--out", "run"]
    assert main(words) == 0
    capsys.readouterr()
    return Path("run")


def probe(*words: str) -> int:
    return main(["probe", *words, "--device", "cpu"])


def test_a_probe_leaves_a_page(learned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe("run") == 0
    assert "report: run/report.html" in capsys.readouterr().out
    html = (learned / "report.html").read_text()
    page = Page(html)
    for text in ("encoder", "random encoder", "raw coordinates", "k-NN accuracy on test clips",
                 "Alignment", "Uniformity", "Nearest neighbours", "point for each of 8 test",
                 "Protocol knn, neighbours 1", "name: skeletonclr", "the last epoch"):  # fmt: skip
        assert text in page.text, text
    # A point for each test clip, and a key.
    store = open_store("store")
    tested = [clip for clip in map(store.clip, range(len(store))) if clip.subject % 2 == 0]
    for clip in tested:
        name = store.class_names[clip.label]
        assert page.text.count(f"{clip.name}: {name}") == 1
    assert html.count('<svg class="skeleton"') == 8 * 6
    marks = re.findall(r'<figure class="(same|other)">', html)
    assert len(marks) == 8 * 5
    # A name with markup in it is text; nothing is loaded.
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(EVIL) > 8
    assert not re.search(r"https?:|//[a-z]|url\(|@import|src=|href=", html)
    assert dict(page.tags)["meta"]["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert not (learned / "tsne.svg").exists()

    # Each probe writes it anew; with the same words the same page.
    assert probe("run", "--protocol", "retrieval") == 0
    assert "Protocol retrieval" in (learned / "report.html").read_text()
    assert probe("run") == 0
    again = re.sub(r"<dt>written.*", "", (learned / "report.html").read_text())
    assert again == re.sub(r"<dt>written.*", "", html)


def test_the_picture_is_a_protocol(learned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe("run", "--protocol", "tsne") == 0
    said = capsys.readouterr().out
    assert "drawn: 8 test clips of 2 classes, perplexity 2.33" in said
    assert "picture: run/tsne.svg" in said
    assert "report: run/report.html" in said
    first = (learned / "tsne.svg").read_bytes()
    tree = ElementTree.fromstring(first)
    heads = [text.text for text in tree.iter(f"{SVG}text") if text.get("class") == "head"]
    assert heads == ["encoder", "random encoder", "raw coordinates"]
    assert len(list(tree.iter(f"{SVG}path"))) == 3 * 8 + 2
    assert (learned / "report.html").read_text().count("nearest point of the same class") == 3
    assert probe("run", "--protocol", "tsne", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["picture"], facts["report"]) == ("run/tsne.svg", "run/report.html")
    assert facts["drawn"] == {"clips": 8, "classes": 2, "perplexity": pytest.approx(7 / 3)}
    assert (learned / "tsne.svg").read_bytes() == first
    shown = f"nearest point of the same class: {100 * facts['rows']['encoder']['top-1']:.1f} %"
    assert shown in first.decode()
    # Going on with the run makes them those of other weights.
    folder = RunFolder(learned)
    folder.forget_results()
    assert not folder.tsne.exists()
    assert not folder.report.exists()


def test_pages_go_where_they_are_sent(learned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(learned / "checkpoints" / "last.safetensors", "alone.safetensors")
    assert probe("alone.safetensors") == 0
    told = capsys.readouterr()
    assert "no page kept: the checkpoint lies in no run folder; --out FILE keeps it" in told.err
    assert "report:" not in told.out
    assert probe("alone.safetensors", "--out", "page.html") == 0
    assert "report: page.html" in capsys.readouterr().out
    assert "While it learned" not in Path("page.html").read_text(), "its curves are not known"
    assert probe("run", "--out", "page.html") == 2
    assert "'page.html' exists already" in capsys.readouterr().err
    assert probe("run", "--out", "page.html", "--force") == 0
    assert "While it learned" in Path("page.html").read_text()
    assert probe("run", "--protocol", "tsne", "--out", "x.svg") == 0
    assert Path("x.svg").is_file()
    assert probe("run", "--no-report") == 0
    assert not (learned / "report.html").exists(), "only where it was sent"
    assert not (learned / "tsne.svg").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--out", "x.svg"], "expected a name that ends in .html (--protocol knn)"),
        (["--out", "x.html", "--protocol", "tsne"], "expected a name that ends in .svg"),
        (["--force"], "--force replaces what --out names"),
        (["--out", "x.html", "--no-report"], "--no-report that nothing is written"),
    ],
)
def test_wrong_places_are_refused_at_once(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe("nowhere", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_the_page_of_a_test_is_not_replaced(
    learned: Path, tiny_recipe: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("classes.yaml").write_text(yaml.safe_dump(tiny_recipe()))
    words = ["classes.yaml", "--data.store", "store", "--device", "cpu", "--out", "classes"]
    assert main(["train", *words]) == 0
    assert main(["test", "classes", "--device", "cpu"]) == 0
    before = Path("classes/report.html").read_bytes()
    capsys.readouterr()
    assert probe("classes") == 0
    assert "report: classes/report-probe.html" in capsys.readouterr().out
    assert Path("classes/report.html").read_bytes() == before
    assert "a trained network" in Path("classes/report-probe.html").read_text()
    # A run that is made anew takes its pages with it.
    assert main(["train", *words, "--force"]) == 0
    assert not Path("classes/report-probe.html").exists()


def test_few_clips_have_a_page_without_a_picture(
    learned: Path, make_store: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source = open_store("store")
    with create_store(Path("few"), source.skeleton, source.class_names, source="") as writer:
        for number in (0, 1, 2, 3, 4, 5):
            clip = source.clip(number)
            writer.add(replace(clip, subject=1 + (number == 5)))
        writer.default_split = "subjects"
    assert probe("run", "--data.store", "few") == 0
    text = (learned / "report.html").read_text()
    assert "A picture of features needs at least 4 test clips, not 1." in text
    assert 'class="embedding"' not in text
    capsys.readouterr()
    assert probe("run", "--data.store", "few", "--protocol", "tsne") == 2
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "a picture of features needs at least 4 test clips, not 1" in line
