"""Command lines of the original programs, in our words."""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kinegraph.cli import VERBS, main
from kinegraph.compat.translate import translate
from kinegraph.errors import RecipeError
from kinegraph.recipe import Recipe, load_recipe

INFOGCN = (
    "python main.py --model=SAGCN --half=True --batch_size=256 --test_batch_size=256 --step 90 100"
    " --num_epoch=110 --n_heads=3 --num_worker=4 --modal_idx=0 --dataset=ntu --num_class=60"
    " --lambda_1=1e-4 --lambda_2=1e-1 --z_prior_gain=3 --save_epoch=60 --use_vel=False"
    " --datacase=CS --weight_decay=0.0005"
)
LST = "CUDA_VISIBLE_DEVICES=0,1 python main_multipart_ntu.py --config config/{}.yaml --model {} "
CONTRAST_STREAMS = {"joint": "", "motion": " --stream joint-motion", "bone": " --stream bone"}
DIRS = "--joint-dir {0}/a --bone-dir {0}/b --joint-motion-dir {0}/c --bone-motion-dir {0}/d"
# Every command that stands in the README of one of the programs -> what its translation has.
README = {
    "python get_raw_skes_data.py": "data import ntu60",
    "python get_raw_denoised_data.py": "data import ntu60",
    "python seq_transformation.py": "data import ntu60",
    INFOGCN: "kinegraph train ntu-infogcn --data.store STORE --training.batch_size 256",
    "python main.py --model=SAGCN --half=True --test_batch_size=256 --n_heads=3 --num_worker=4"
    " --modal_idx=0 --dataset=ntu --num_class=60 --use_vel=False --datacase=CS --phase=test"
    " --save_score=True --weights=<work_dir>/files/best_score.pt": "--system infogcn",
    "python ensemble.py --dataset=ntu/xsub --position_ckpts <work_dir_1>/files/best_score.pkl"
    " <work_dir_2>/files/best_score.pkl --motion_ckpts <work_dir_3>/files/best_score.pkl"
    " <work_dir_4>/files/best_score.pkl": "--streams joint joint motion motion --preset infogcn",
    "python main.py --config config/nturgbd-cross-subject/rand_scale.yaml"
    " --work-dir results/ntu/xsub/demo --device 0": (
        "kinegraph train ntu-frhead --data.store STORE --objective.name classify"
    ),
    "python main.py --config config/nturgbd-cross-subject/rand_scale.yaml"
    " --cl-mode ST-Multi-Level --w-multi-cl-loss 0.1 0.2 0.5 1"
    " --work-dir results/ntu/xsub/demo --device 0": "level_weights '[0.1, 0.2, 0.5, 1]'",
    "python main.py --config config/nturgbd120-cross-subject/rand_scale_bone.yaml"
    " --work-dir results/ntu120/xsub/demo --cl-mode ST-Multi-Level"
    " --w-multi-cl-loss 0.1 0.2 0.5 1 --device 0": "--stream bone",
    "python main.py --config config/ucla/default.yaml --work-dir results/NW-UCLA/demo --phase test"
    " --save-score True --weights results/NW-UCLA/FR-Head_Joint_94.40/runs.pt"
    " --device 0": "--system frhead --stream joint --split view3",
    f"python ensemble.py --dataset ntu120/xset {DIRS.format('results/FR-Head')}": (
        "--preset frhead:ntu120-xset --order ntu120-xset"
    ),
    LST.format("nturgbd-cross-subject/lst_joint", "model.ctrgcn.Model_lst_4part")
    + "--work-dir work_dir/ntu60/csub/lst_joint --device 0 1": (
        "kinegraph train ntu-lst --data.store STORE --out"
    ),
    LST.format("nturgbd-cross-subject/lst_bone", "model.ctrgcn.Model_lst_4part_bone")
    + "--work-dir work_dir/ntu60/csub/lst_bone --device 0 1": "--objective.original_parts bones",
    LST.format("nturgbd120-cross-subject/lst_joint", "model.ctrgcn.Model_lst_4part")
    + "--work-dir work_dir/ntu120/csub/lst_joint --device 0 1": "--device 0 1",
    LST.format("nturgbd120-cross-subject/lst_bone", "model.ctrgcn.Model_lst_4part_bone")
    + "--work-dir work_dir/ntu120/csub/lst_bone --device 0 1": "--stream k-mode-1",
    "CUDA_VISIBLE_DEVICES=0,1 python main_multipart_ucla.py --config config/ucla/lst_joint.yaml"
    " --model model.ctrgcn.Model_lst_4part_ucla --work-dir work_dir/ucla/lst_joint"
    " --device 0 1": "kinegraph train nw-ucla-lst --data.store STORE --out",
    "python main_multipart_ntu.py --config <work_dir>/config.yaml --work-dir <work_dir>"
    " --phase test --save-score True --weights <work_dir>/xxx.pt --device 0": "--system lst",
    "python ensemble.py --datasets ntu120/xsub --joint-dir work_dir/ntu120/csub/lst_joint"
    " --bone-dir work_dir/ntu120/csub/lst_bone"
    " --joint-motion-dir work_dir/ntu120/csub/lst_joint_vel"
    " --bone-motion-dir work_dir/ntu120/csub/lst_bone_vel": "--preset lst:ntu120-xsub",
    "tools/ntu_gendata.py --data_path <path to nturgbd>": "'<path to nturgbd>' --cleaning stgcn",
    "bash tools/get_reference_models.sh": "convert st_gcn.ntu-xsub.pt --system stgcn",
    "main.py --phase test --config <path to training config>"
    " --weights <path to model weights>": "convert '<path to model weights>'",
    "main.py --config config/Kinetics/ST-GCN.yaml": "kinegraph train kinetics-stgcn --data",
    "main.py --config /home/ucla/st-gcn/config/Kinetics/ST-GCN.yaml": "train kinetics-stgcn --data",
    "main.py -h": "kinegraph train --help",
    **{
        "$ python main.py pretrain_aimclr --config"
        f" config/ntu60/pretext/pretext_aimclr_xview_{stream}.yaml": (
            f"kinegraph train ntu-aimclr --data.store STORE --data.split xview{option}"
        )
        for stream, option in CONTRAST_STREAMS.items()
    },
    **{
        "$ python main.py linear_evaluation --config"
        f" config/ntu60/linear_eval/linear_eval_aimclr_xview_{stream}.yaml": (
            f"kinegraph train ntu-aimclr-linear --data.store STORE --data.split xview{option}"
            " --start.run RUN"
        )
        for stream, option in CONTRAST_STREAMS.items()
    },
}

Check = Callable[[list[str]], str]


@pytest.fixture
def complaint(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Parse a command of ours without doing it, and return what is wrong with it."""
    for verb in VERBS.values():
        module = importlib.import_module(f"kinegraph.commands.{verb.module}")
        monkeypatch.setattr(module, verb.run, _resolve)

    def check(words: list[str]) -> str:
        try:
            code = main(words)
        except SystemExit as stop:
            code = int(stop.code or 0)
        return capsys.readouterr().err if code else ""

    return check


def _resolve(arguments: Any) -> int:
    if getattr(arguments, "recipe", None) is not None:
        load_recipe(arguments.recipe, arguments.overrides)
    return 0


def recipe_of(line: str) -> Recipe:
    """Return the recipe that the translation of a training command resolves to."""
    words = shlex.split(translate(line).lines()[0])
    words = words[words.index("train") + 1 :]
    options = [w for w in range(1, len(words)) if words[w].startswith("--")]
    own = ("--out", "--device")
    pairs = [(words[w][2:], words[w + 1]) for w in options if words[w] not in own]
    return load_recipe(words[0], pairs)


@pytest.mark.parametrize("line", README)
def test_every_command_of_the_readmes(line: str, complaint: Check) -> None:
    found = translate(line)
    assert README[line] in " ".join(found.lines())
    assert found.commands
    for words in found.commands:
        assert complaint(list(words[1:])) == ""


@pytest.mark.parametrize("kind", ["aimclr", "skeletonclr", "crossclr"])
def test_what_a_settings_file_adds_can_be_typed(
    kind: str, complaint: Check, tmp_path: Path
) -> None:
    config = tmp_path / "ntu60.yaml"
    config.write_text(
        "base_lr: 0.2\nstep: [100, 200]\ntopk: 2\nmodel_args: {queue_size: 64}\n"
        "train_feeder_args: {shear_amplitude: 0.3}\n"
    )
    (words,) = translate(f"main.py pretrain_{kind} --config {config}").commands
    assert "--transforms.query.2.amplitude" in words
    assert complaint(list(words[1:])) == ""


@pytest.mark.parametrize(
    ("line", "recipe", "options"),
    [
        ("python main.py --config config/ucla/joint.yaml", "nw-ucla-ctrgcn", ""),
        ("python main.py --config config/nturgbd120-cross-set/bone_vel.yaml", "ntu-ctrgcn",
         "--stream bone-motion --data.split xset"),
        ("python main.py --config config/nturgbd-cross-subject/joint.yaml --seed 1", "ntu-ctrgcn",
         "--seed 1"),
        ("python main.py --config config/ucla/joint.yaml --cl-mode ST-Multi-Level",
         "nw-ucla-frhead", ""),
        ("python main.py --config config/ucla/joint.yaml --cl-mode None --w-cl-loss 0.2",
         "nw-ucla-frhead", "--objective.name classify"),
        ("python main.py --dataset NW-UCLA --n_heads 3 --batch_size 32", "nw-ucla-infogcn",
         "--training.batch_size 32 --backbone.heads 3"),
        ("python main.py --dataset ntu --k 8 --n_heads 3", "ntu-infogcn",
         "--training.batch_size 64 --backbone.heads 3 --stream k-mode-8"),
        ("main.py --config config/st_gcn/ntu-xview/train.yaml", "ntu-stgcn", "--data.split xview"),
    ],
)  # fmt: skip
def test_what_the_recipe_says_already_is_printed_if_it_was_typed(
    line: str, recipe: str, options: str
) -> None:
    words = f"kinegraph train {recipe} --data.store STORE {options}".rstrip()
    assert translate(line).lines() == [words]


def test_the_printed_line_is_the_command() -> None:
    found = translate(next(line for line in README if "lst_joint.yaml" in line))
    line = shlex.split(found.lines()[0])
    assert line[0] == "CUDA_VISIBLE_DEVICES=0,1"
    assert tuple(line[1:]) == found.commands[0]


def test_values_of_the_environment_can_be_typed() -> None:
    line = "CUDA_VISIBLE_DEVICES='0, 1' NONE= python main.py --config config/ucla/joint.yaml"
    found = translate(line).lines()[0]
    assert found.startswith("CUDA_VISIBLE_DEVICES='0, 1' NONE= kinegraph train ")
    assert shlex.split(found)[:2] == ["CUDA_VISIBLE_DEVICES=0, 1", "NONE="]


def test_infogcn_means_what_it_meant() -> None:
    recipe = recipe_of(INFOGCN)
    values = recipe.model_dump()
    assert recipe.stream == "k-mode-8"
    assert recipe.original
    assert values["backbone"] == {"name": "infogcn", "width": 64, "heads": 3}
    objective = {"name": "bottleneck", "gain": 3, "conditional": 0.1, "marginal": 1e-4}
    assert objective.items() <= values["objective"].items()
    assert (recipe.training.epochs, recipe.training.batch_size) == (110, 256)
    assert recipe.schedule.steps == (90, 100)
    assert recipe.optim.weight_decay == 0.0005
    assert recipe.data.split == "xsub"
    names = [transform.name for transform in recipe.transforms["train"]]  # type: ignore[attr-defined]
    assert names == ["crop_resize", "rotate"]


def test_options_of_the_bottleneck() -> None:
    line = "python main.py --dataset ntu --k 8 --n_heads 3 --lambda_1 0.002 --lambda_2 0.3"
    recipe = recipe_of(f"{line} --z_prior_gain 2 --noise_ratio 0.4 --half False")
    expected = {"marginal": 0.002, "conditional": 0.3, "gain": 2, "noise": 0.4}
    assert expected.items() <= recipe.objective.model_dump().items()
    assert recipe.training.precision == "fp32"


@pytest.mark.parametrize(
    ("words", "stream"),
    [
        ("--modal_idx=0", "k-mode-8"),
        ("--modal_idx=6", "k-mode-2"),
        ("--modal_idx 7 --use_vel True", "k-mode-1-motion"),
        ("--k 1", "k-mode-1"),
        ("--k=8 --use_vel=True", "k-mode-8-motion"),
    ],
)
def test_modes(words: str, stream: str) -> None:
    line = f"python main.py --model infogcn.InfoGCN --n_heads 3 --dataset ntu120 {words}"
    assert recipe_of(f"{line} --datacase CSet").stream == stream
    assert recipe_of(f"{line} --datacase CSet").data.split == "xset"


@pytest.mark.parametrize("words", ["--k 0", "--modal_idx 8"])
def test_a_mode_without_input_is_refused(words: str) -> None:
    with pytest.raises(RecipeError, match="makes every input zero"):
        translate(f"python main.py --n_heads 3 --dataset ntu {words}")


def test_options_of_the_contrast() -> None:
    line = "python main.py --config config/nturgbd-cross-view/joint.yaml --cl-mode ST-Multi-Level"
    recipe = recipe_of(
        f"{line} --cl-version V1 --pred_threshold 0.2 --use_p_map False --w-cl-loss 0.2"
        " --start-cl-epoch 4 --model model.aagcn.Model --num-epoch 70 --base-lr 0.05"
    )
    expected = {
        "version": "V1", "threshold": 0.2, "weigh_by_probability": False, "weight": 0.2,
        "start_epoch": 5,
    }  # fmt: skip
    assert expected.items() <= recipe.objective.model_dump().items()
    assert recipe.backbone.name == "aagcn"  # type: ignore[attr-defined]
    assert (recipe.data.split, recipe.training.epochs, recipe.optim.lr) == ("xview", 70, 0.05)


def test_options_of_a_contrast_that_there_is_not_are_named() -> None:
    found = translate("main.py --config config/ucla/joint.yaml --cl-mode None --w-cl-loss 0.2")
    assert "--w_cl_loss: without the contrast it means nothing" in found.notes


def test_two_streams_are_weighed_as_they_were() -> None:
    line = "python ensemble.py --dataset ntu/xview --joint-dir a --bone-dir b --alpha 0.7"
    assert "--weights 1 0.7 --order ntu60-xview" in translate(line).lines()[0]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("python main.py --n_heads 3 --dataset ntu --lambda_3 1", "--lambda_3: no option of infog"),
        ("python main.py --config config/ucla/joint.yaml --cl-mod X", "nearest: 'cl_mode'"),
        ("python main.py --config config/mine.yaml", "does not tell which recordings"),
        ("python main.py --n_heads 3 --dataset nut", "nearest: 'ntu'"),
        ("python main.py --config config/ucla/a.yaml --model model.agcn.Model", "unknown --model"),
        ("python train.py --config x", "'train' is no script of theirs"),
        ("python main.py --phase test --config config/ucla/a.yaml", "needs --weights"),
        ("python ensemble.py --dataset ntu/xsub", "names no scores"),
        ("main.py --dataset ntu --n_heads 3 --base_lr abc", "--base_lr abc cannot be translated"),
        ("main.py --dataset ntu --n_heads", "--n_heads needs a value"),
        (
            "main.py --config config/ucla/a.yaml --cl-mode ST-Multi-Level --start-cl-epoch soon",
            "--start_cl_epoch soon: expected a whole number",
        ),
        ("python", "names no script"),
        ("python main.py 'open", "cannot be read"),
    ],
)
def test_what_cannot_be_translated_is_named(line: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        translate(line)


def test_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", "main.py -h"]) == 0
    assert capsys.readouterr().out == "kinegraph train --help\n"
    assert main(["translate", "python seq_transformation.py", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["commands"][0].startswith("kinegraph data import ntu60")
    assert main(["translate", "main.py -h", "--program", "pyskl"]) == 2
    assert "unknown program 'pyskl'" in capsys.readouterr().err
