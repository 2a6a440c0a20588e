"""Command lines of the original programs: whose they are, their weights, and what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from kinegraph.compat.translate import translate
from kinegraph.errors import RecipeError

CTRGCN = "main.py --config config/nturgbd-cross-subject/a.yaml"
LINEAR = "main.py linear_evaluation --config config/ntu60/linear_aimclr_xsub.yaml"


@pytest.mark.parametrize("line", [CTRGCN, LINEAR])
@pytest.mark.parametrize(
    ("weights", "ours", "scores"),
    [
        ("a/b.pt", "a/b.safetensors", "a/b.npz"),
        ("a/b.pkl", "a/b.safetensors", "a/b.npz"),
        ("r/Joint_94.40", "r/Joint_94.40.safetensors", "r/Joint_94.40.npz"),
        ("a/run.d/", "a/run.d.safetensors", "a/run.d.npz"),
    ],
)
def test_where_converted_weights_are(line: str, weights: str, ours: str, scores: str) -> None:
    convert, tested = translate(f"{line} --weights {weights} --phase test").commands
    assert convert[2] == weights
    assert convert[-1] == tested[2] == ours
    assert tested[-1] == scores
    convert, trained = translate(f"{line} --weights {weights}").commands
    assert convert[-1] == trained[trained.index("--start.run") + 1] == ours


@pytest.mark.parametrize("line", [CTRGCN, LINEAR])
def test_weights_of_ours_are_not_converted(line: str) -> None:
    found = translate(f"{line} --weights w/ours.safetensors --phase test")
    (words,) = found.commands
    assert words[:3] == ("kinegraph", "test", "w/ours.safetensors")
    assert words[-1] == "w/ours.npz"
    assert not any("needs no conversion" in note for note in found.notes)
    (words,) = translate(f"{line} --weights w/ours.safetensors").commands
    assert words[words.index("--start.run") + 1] == "w/ours.safetensors"


@pytest.mark.parametrize("name", ["crossclr", "skeletonclr"])
def test_the_pretraining_that_a_linear_evaluation_needs(name: str) -> None:
    line = LINEAR.replace("aimclr", name) + (" --view all" if name == "crossclr" else "")
    note = next(note for note in translate(line).notes if note.startswith("RUN is"))
    words = shlex.split(note.partition("folder of ")[2].partition(",")[0])
    assert words == ["kinegraph", "train", "ntu-aimclr", "--objective.name", name]
    assert "--objective.name" not in " ".join(translate(LINEAR).notes)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{CTRGCN} --step 35 x", "--step 35 x cannot be translated: --schedule.steps.1: found"),
        (f"{CTRGCN} --work-dir x > log.txt 2>&1", "'>' is for the shell: give the command alone"),
        (f"{CTRGCN} --device 0&", "'&' is for the shell"),
        (f"{CTRGCN} && echo done", "'&&' is for the shell"),
        (f"{CTRGCN} | tee log.txt", "'|' is for the shell"),
        (f"{CTRGCN} --device cpu x", "--device cpu x: expected numbers of GPUs"),
        ("ensemble.py --joint-dir a --bone-dir b --alpha x", "--alpha x: expected a number"),
        ("tools/ntu_gendata.py --foo 3", "--foo: no option of ntu_gendata"),
        ("tools/ntu_gendata.py --data_path", "--data_path needs a value"),
        ("python seq_transformation.py --foo", "--foo: no option of seq_transformation"),
        ("torchrun --nproc_per_node 2", "names no script"),
        (f"{LINEAR} --modal_idx 7 --k 2", "--modal_idx, --k: no option of aimclr"),
        (f"{LINEAR} --cl_mode foo --joint_dir x", "--cl_mode, --joint_dir: no option of aimclr"),
        (f"{LINEAR} --dataset ntu", "--dataset: no option of aimclr"),
        (f"{CTRGCN} --joint_dir x --alpha 3", "--joint_dir, --alpha: no option of ctrgcn"),
        (f"{CTRGCN} --data_path x", "--data_path: no option of ctrgcn"),
        (
            "ensemble.py --joint-dir a --bone-dir b --cl_mode x",
            "--cl_mode: no option of the ensembles",
        ),
        (f"{CTRGCN} --k 2 --model model.aagcn.Model", "--k: no option of ctrgcn .* has --k"),
        (
            "main.py --dataset ntu --seed 3",
            "does not tell whose it is: --program is one of infogcn",
        ),
    ],
)
def test_what_is_refused(line: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        translate(line)


@pytest.mark.parametrize(
    ("words", "recipe"),
    [
        ("--config config/nturgbd-cross-subject/a.yaml --work-dir /home/st_gcn/r", "ntu-ctrgcn"),
        ("--config config/nturgbd-cross-subject/a.yaml --work-dir infogcn", "ntu-ctrgcn"),
        ("--config /home/fr-head/lst_1/config/ucla/a.yaml --work-dir r", "nw-ucla-ctrgcn"),
        ("--config config/st_gcn/ntu-xview/train.yaml --work_dir infogcn", "ntu-stgcn"),
    ],
)
def test_folders_of_the_user_do_not_tell_the_program(words: str, recipe: str) -> None:
    assert translate(f"main.py {words}").commands[0][2] == recipe


def test_options_of_one_program_are_not_those_of_another() -> None:
    for words in ("--modal_idx 7", "--k 2", "--use_vel True", "--cl-mode ST-Multi-Level"):
        with pytest.raises(RecipeError, match="no option of ctrgcn that is known here"):
            translate(f"{CTRGCN} {words}", "ctrgcn")


@pytest.mark.parametrize(
    "start",
    [
        "nohup python -u main.py",
        "/usr/bin/python3 main.py",
        "python -m main",
        "torchrun --nproc_per_node 2 main.py",
        "python -m torch.distributed.launch --nproc_per_node=2 main.py",
    ],
)
def test_what_starts_a_script_is_left_out(start: str) -> None:
    line = CTRGCN.replace("main.py", start, 1)
    assert translate(line).lines() == ["kinegraph train ntu-ctrgcn --data.store STORE"]


def test_signs_of_the_shell_in_quotes_are_text() -> None:
    found = translate(f"{CTRGCN} --work-dir 'a;b & c' --weights '<my weights>/x.pt' --device cpu")
    assert found.commands[-1][-4:] == ("--out", "a;b & c", "--device", "cpu")


def test_weights_in_a_file_that_are_no_name(tmp_path: Path) -> None:
    config = tmp_path / "nturgbd-cross-subject.yaml"
    config.write_text("weights: [a.pt]\n")
    for words in ("", "--phase test"):
        with pytest.raises(RecipeError, match="weights in the settings file: a value of type list"):
            translate(f"main.py --config {config} {words}", "ctrgcn")
    assert translate(f"main.py --config {config} --weights b.pt", "ctrgcn").commands[0][2] == "b.pt"
