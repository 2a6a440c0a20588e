"""``kinegraph ensemble`` on our files, on pickles of others, and on what cannot be added."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kinegraph.cli import main
from kinegraph.data.clip import Clip, Track
from kinegraph.data.store_writer import create_store
from kinegraph.evaluation.scores import Scores, load_scores, save_scores
from kinegraph.skeleton import load_layout

CLASSES = tuple(f"class <{i}>" for i in range(6))


def stream(seed: int, name: str, *, first: int = 0, clips: int = 90) -> Scores:
    labels = np.arange(clips) % 6
    logits = np.random.default_rng(seed).normal(size=(clips, 6)) + 1.5 * np.eye(6)[labels]
    names = np.array([f"clip{first + i:04d}" for i in range(clips)])
    return Scores(names, logits.astype(np.float32), labels, CLASSES, "test", name)


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    """Four run folders, each with the scores of one stream."""
    names = ("joint", "bone", "joint-motion", "bone-motion")
    for seed, name in enumerate(names):
        save_scores(tmp_path / name / "scores" / "test.npz", stream(seed, name))
    return [str(tmp_path / name) for name in names]


def json_of(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main(["ensemble", *words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["ensemble", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_table_and_a_score_file(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, report = tmp_path / "sum.npz", tmp_path / "report.html"
    words = [*runs, "--preset", "ctrgcn", "--out", str(out), "--report", str(report)]
    assert main(["ensemble", *words]) == 0
    text = capsys.readouterr().out
    for part in (
        "90 test clips, weights of preset ctrgcn",
        "joint-motion",
        "0.4",
        "ensemble",
        str(out),
    ):
        assert part in text
    combined = load_scores(out)
    assert (combined.stream, combined.split, combined.classes) == ("ensemble", "test", CLASSES)
    weights = (0.6, 0.6, 0.4, 0.4)
    tables = [load_scores(run) for run in runs]
    expected = sum(w * t.logits.astype(float) for w, t in zip(weights, tables, strict=True))
    np.testing.assert_allclose(combined.logits, expected, rtol=1e-5, atol=1e-6)
    assert "class &lt;0&gt;" in report.read_text()
    assert "exists already" in complaint(capsys, *words)
    assert main(["ensemble", *words, "--force"]) == 0


def test_json_weights_and_equal_weights(
    runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    found = json_of(capsys, *runs[:2], "--weights", ".6", ".4")
    assert found["weights"] == "weights as given"
    assert [m["weight"] for m in found["members"]] == [0.6, 0.4]  # type: ignore[attr-defined]
    equal = json_of(capsys, *runs)
    assert equal["weights"] == "equal weights"
    assert equal["clips"] == 90
    best = max(m["metrics"]["top1"] for m in equal["members"])  # type: ignore[attr-defined]
    assert equal["ensemble"]["top1"] > best  # type: ignore[index]


def test_tuning(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = [str(tmp_path / f"other{seed}.npz") for seed in range(4)]
    for seed, path in enumerate(others):
        save_scores(path, stream(10 + seed, Path(runs[seed]).name, first=5000))
    found = json_of(capsys, *runs, "--weights", "auto", "--tune-on", *others)
    assert found["weights"] == "weights tuned on 90 other clips"
    text = complaint(capsys, *runs, "--weights", "auto", "--tune-on", *runs)
    assert "90 of the clips to tune on are among the 90 reported ones" in text
    named = json_of(capsys, *runs, "--weights", "auto", "--tune-on-reported")
    assert named["weights"] == "weights tuned on the reported clips"
    assert named["notes"] == ["weights tuned on the reported clips"]
    out = str(tmp_path / "sum.npz")
    words = [*runs, "--weights", "auto", "--tune-on-reported", "--out", out]
    assert main(["ensemble", *words]) == 0
    assert "note: weights tuned on the reported clips" in capsys.readouterr().out
    later = json_of(capsys, out, runs[0])
    assert later["notes"] == ["weights tuned on the reported clips"]


def test_a_preset_says_which_streams_it_assumes(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / f"{seed}.npz") for seed in range(4)]
    for seed, file in enumerate(files):
        save_scores(file, stream(seed, ""))
    words = [*files, "--preset", "ctrgcn"]
    order = "joint, bone, joint motion, bone motion"
    note = f"streams are assumed to be in this order: {order}; name them with --streams"
    found = json_of(capsys, *words)
    assert found["notes"] == [note]
    assert ", ".join(m["stream"] for m in found["members"]) == order  # type: ignore[attr-defined]
    assert main(["ensemble", *words, "--out", str(tmp_path / "sum.npz")]) == 0
    text = capsys.readouterr().out
    assert f"note: {note}" in " ".join(text.split())
    assert "joint motion" in text[: text.index("note:")]
    assert "?" not in text
    assert load_scores(tmp_path / "sum.npz").notes == (note,)
    assert json_of(capsys, *runs, "--preset", "ctrgcn")["notes"] == []
    named = ["joint", "joint-motion", "bone", "bone-motion"]
    other = json_of(capsys, *words, "--streams", *named)
    assert other["notes"] == []
    assert [m["weight"] for m in other["members"]] == [0.6, 0.4, 0.6, 0.4]  # type: ignore[attr-defined]


@pytest.mark.parametrize("option", ["--weights", "--streams", "--tune-on"])
def test_members_that_an_option_swallowed(
    option: str, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    hint = "; members come first: kinegraph ensemble RUN_A RUN_B --weights 0.6 0.4"
    assert complaint(capsys, option, *runs[:2]).rstrip().endswith(hint)
    assert "members come first" not in complaint(capsys)


@pytest.mark.parametrize(("option", "suffix"), [("--out", ".npz"), ("--report", ".html")])
@pytest.mark.parametrize("name", ["sum", "sum.txt"])
def test_a_result_has_the_suffix_of_its_kind(
    option: str, suffix: str, name: str, runs: list[str], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    text = complaint(capsys, *runs, option, str(tmp_path / name))
    assert text.rstrip().endswith(f"{name}: expected a name that ends in {suffix}")
    assert not (tmp_path / name).exists()


def test_a_damaged_score_file_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = b"{'descr': '<f4', 'shape': (1,"
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
        archive.writestr("names.npy", magic + header)
    text = complaint(capsys, str(tmp_path / "bad.npz"))
    assert "'names.npy' is not a readable .npy file" in text


def test_the_title_leaves_out_a_split_that_is_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_scores(tmp_path / "a.npz", replace(stream(0, "joint"), split=""))
    assert main(["ensemble", str(tmp_path / "a.npz")]) == 0
    assert "90 clips, equal weights" in capsys.readouterr().out


def test_numbered_pickles_with_an_order_file_and_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [stream(0, "joint"), stream(1, "bone")]
    files = [str(tmp_path / f"{table.stream}.pkl") for table in tables]
    for table, file in zip(tables, files, strict=True):
        Path(file).write_bytes(pickle.dumps({np.int64(i): r for i, r in enumerate(table.logits)}))
    order, store = tmp_path / "order.txt", tmp_path / "store"
    order.write_text("\n".join(tables[0].names) + "\n")
    layout, joints = load_layout("ucla20"), np.ones((1, 20, 3), np.float32)
    with create_store(store, layout, CLASSES, source="test") as writer:
        for i in np.random.default_rng(0).permutation(90):
            name, label = str(tables[0].names[i]), int(tables[0].labels[i])
            writer.add(Clip(name, (Track(joints),), 1, label=label))
    assert "hold no labels" in complaint(capsys, *files)
    assert "--order FILE" in complaint(capsys, *files, "--data.store", str(store))
    words = [*files, "--order", str(order), "--data.store", str(store)]
    found = json_of(capsys, *words)
    hits = (tables[0].logits + tables[1].logits).argmax(1) == tables[0].labels
    assert found["ensemble"]["top1"] == pytest.approx(hits.mean())  # type: ignore[index]
    found = json_of(capsys, *words, "--streams", "joint", "joint-motion", "--preset", "infogcn")
    assert [m["weight"] for m in found["members"]] == [1.5, 1.0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", ".6"], "1 weights for 2 score files"),
        (["--weights", "a", "b"], "expected numbers, or auto alone"),
        (["--weights", "auto"], "needs scores of other clips to tune on"),
        (["--weights", "auto", "1"], "expected numbers, or auto alone"),
        (["--weights", "1", "1", "--preset", "ctrgcn"], "exclude each other"),
        (["--tune-on-reported"], "need --weights auto"),
        (["--preset", "ctrgnc"], "unknown preset 'ctrgnc'; nearest: 'ctrgcn'"),
        (["--preset", "ctrgcn"], "weighs joint, bone, joint motion, bone motion; found"),
        (["--streams", "joint"], "names 1 streams for 2 score files"),
        (["--split", "trian"], "has no scores of split 'trian'"),
        (["--data.store", "nowhere"], "nowhere"),
        (["--order", "nowhere.txt"], "order file 'nowhere.txt'"),
        (["--wieghts", "1"], "unknown option --wieghts; nearest: '--weights'"),
    ],
)
def test_wrong_options_are_one_clear_line(
    words: list[str], message: str, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in complaint(capsys, *runs[:2], *words)


def test_files_that_do_not_belong_together(
    runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_scores(tmp_path / "fewer.npz", stream(0, "joint", clips=88))
    text = complaint(capsys, runs[0], str(tmp_path / "fewer.npz"))
    assert "2 missing (clip0088, clip0089)" in text


def test_a_malicious_file_is_refused_and_leaves_nothing(runs: list[str], tmp_path: Path) -> None:
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(Vtouch PWNED\ntR.")
    words = ["ensemble", runs[0], "evil.pkl", "--out", "sum.npz"]
    done = subprocess.run(
        [sys.executable, "-m", "kinegraph", *words],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'evil.pkl' is refused: it contains the name 'os.system'" in done.stderr
    assert not (tmp_path / "PWNED").exists()
    assert not (tmp_path / "sum.npz").exists()


def nw_ucla_store(source: Path, path: Path) -> None:
    """Write a store of the NW-UCLA names and labels; the coordinates do not matter here."""
    numbers = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)
    joints = np.ones((1, 20, 3), np.float32)
    names = [str(number) for number in numbers]
    with (
        zipfile.ZipFile(source) as archive,
        create_store(path, load_layout("ucla20"), names, source="test") as writer,
    ):
        for member in archive.namelist():
            parts = re.search(r"(a(\d+)_s\d+_e\d+_v\d+)\.json$", member)
            if parts:
                label = numbers.index(int(parts[2]))
                writer.add(Clip(parts[1], (Track(joints),), 1, label=label))


@pytest.mark.shared
def test_published_fr_head_scores(
    tmp_path: Path, shared_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shared_folder / "data"
    nw_ucla_store(data / "nw-ucla/all_sqe.zip", tmp_path / "ucla")
    folder = data / "scores/frhead-nw-ucla"
    stems = ("Joint_94.40", "Bone_93.10", "Joint_Motion_92.89", "Bone_Motion_89.44")
    files = [str(folder / f"{stem}.pkl") for stem in stems]
    words = [*files, "--order", str(folder / "order.txt"), "--data.store", str(tmp_path / "ucla")]
    for options, expected in (
        (["--weights", ".6", ".6", ".4", ".4"], 96.77),
        (["--preset", "frhead:nw-ucla"], 96.77),
        ([], 96.12),
        (["--preset", "lst"], 95.905),
    ):
        found = json_of(capsys, *words, *options)
        singles = [100 * m["metrics"]["top1"] for m in found["members"]]  # type: ignore[attr-defined]
        assert singles == pytest.approx([94.40, 93.10, 92.89, 89.44], abs=0.005)
        assert 100 * found["ensemble"]["top1"] == pytest.approx(expected, abs=0.005)  # type: ignore[index]
        assert 100 * found["ensemble"]["top5"] == pytest.approx(99.569, abs=0.005)  # type: ignore[index]


@pytest.mark.shared
def test_published_mmaction2_scores(
    shared_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_folder / "data/scores/mmaction2-fuse"
    found = json_of(capsys, str(folder / "joint.pkl"), str(folder / "bone.pkl"))
    singles = [100 * m["metrics"]["top1"] for m in found["members"]]  # type: ignore[attr-defined]
    assert singles == pytest.approx([91.67, 93.33], abs=0.005)
    assert 100 * found["ensemble"]["top1"] == pytest.approx(93.33, abs=0.005)  # type: ignore[index]
    assert 100 * found["ensemble"]["top5"] == pytest.approx(98.33, abs=0.005)  # type: ignore[index]
    assert found["notes"] == [
        "the files number their clips and were paired by these numbers; their labels agree"
    ]


@pytest.mark.parametrize("name", ["epoch1_test_score.pkl", "files/best_score.pkl"])
def test_run_folders_of_the_original_programs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--joint-dir FOLDER` of theirs is FOLDER here."""
    order = tmp_path / "order.txt"
    order.write_text("\n".join(stream(0, "").names.tolist()))
    folders = []
    for seed in range(2):
        table = stream(seed, "joint")
        path = tmp_path / f"run{seed}" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(pickle.dumps({f"test_{i}": row for i, row in enumerate(table.logits)}))
        folders.append(str(tmp_path / f"run{seed}"))
    out = tmp_path / "sum.npz"
    assert main(["ensemble", *folders, "--order", str(order), "--out", str(out)]) == 0
    expected = stream(0, "").logits + stream(1, "").logits
    np.testing.assert_allclose(load_scores(out).logits, expected, atol=1e-6)
    capsys.readouterr()
    (tmp_path / "run0" / name).unlink()
    assert "run first: kinegraph test" in complaint(capsys, *folders, "--order", str(order))
