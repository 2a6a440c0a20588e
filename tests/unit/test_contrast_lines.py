"""Command lines of AimCLR, SkeletonCLR and CrosSCLR, and lines that begin from weights."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from kinegraph.compat.contrast_files import transforms_of
from kinegraph.compat.translate import translate
from kinegraph.errors import RecipeError
from kinegraph.recipe import Recipe, load_recipe, parse_recipe

NTU = "config/ntu60/{}/{}_aimclr_{}_{}.yaml"
PRETRAIN = f"python main.py pretrain_aimclr --config {NTU.format('pretext', 'pretext', '{}', '{}')}"
LINEAR = (
    f"main.py linear_evaluation --config {NTU.format('linear_eval', 'linear_eval', '{}', '{}')}"
)
KIN = "main.py pretrain_{0} --config config/ntu60/pretext/pretext_{0}_xview.yaml"
STREAMS = {"joint": "joint", "motion": "joint-motion", "bone": "bone"}


def recipe_of(words: tuple[str, ...]) -> Recipe:
    """Return the recipe that a training command of ours resolves to."""
    assert words[:2] == ("kinegraph", "train")
    own = ("--out", "--device")
    at = [i for i, word in enumerate(words) if word.startswith("--") and word not in own]
    return load_recipe(words[2], [(words[i][2:], words[i + 1]) for i in at])


@pytest.mark.parametrize("split", ["xsub", "xview"])
@pytest.mark.parametrize("stream", STREAMS)
def test_all_published_runs(split: str, stream: str) -> None:
    pretrained = recipe_of(translate(PRETRAIN.format(split, stream)).commands[-1])
    linear = recipe_of(translate(LINEAR.format(split, stream)).commands[-1])
    for recipe in (pretrained, linear):
        assert (recipe.data.split, recipe.stream) == (split, STREAMS[stream])
        assert recipe.original
    assert pretrained.objective.name == "aimclr"  # type: ignore[attr-defined]
    assert pretrained.start.run is None
    assert linear.objective.name == "classify"  # type: ignore[attr-defined]
    assert (linear.start.run, linear.start.learns) == ("RUN", "head")
    assert linear.optim.lr == 3
    assert pretrained.optim.lr == 0.1


def test_converted_weights_have_the_views_of_the_recipe() -> None:
    """Each family has the views that it wants, and tests are those of the linear evaluation."""
    for family in ("aimclr", "skeletonclr", "crossclr-2", "crossclr-3"):
        recipe = load_recipe("ntu-aimclr")
        views = {name: list(steps) for name, steps in recipe.transforms.items()}
        found = parse_recipe({"transforms": transforms_of(family)}).transforms
        if family != "aimclr":
            del views["extreme"]
        assert {name: list(steps) for name, steps in found.items()} == views
    judged = parse_recipe({"transforms": transforms_of("encoder_q")}).transforms
    assert judged["test"] == load_recipe("ntu-aimclr-linear").transforms["test"]


def test_pku_mmd() -> None:
    line = PRETRAIN.replace("ntu60", "pku_v1").format("xsub", "bone")
    assert translate(line).lines() == [
        "kinegraph train pku-mmd-aimclr --data.store STORE --stream bone"
    ]
    assert "kinegraph data import pku-mmd" in translate(line).notes[0]


def test_options_of_pretraining() -> None:
    line = PRETRAIN.format("xview", "joint")
    found = translate(
        f"{line} --num_epoch 100 --batch_size 64 --base_lr 0.05 --step 80 --mining_epoch 50"
        " --topk 2 --work_dir w/a --device 0 --save_interval 5 --save_result True --nesterov False"
    )
    recipe = recipe_of(found.commands[0])
    assert (recipe.training.epochs, recipe.training.batch_size) == (100, 64)
    assert (recipe.optim.lr, recipe.schedule.steps, recipe.optim.nesterov) == (0.05, (80,), False)
    objective = recipe.objective.model_dump()
    assert (objective["mining_epoch"], objective["top_k"]) == (50, 2)
    assert found.commands[0][-4:] == ("--out", "w/a", "--device", "0")
    assert any(note.startswith("--save_interval: ") for note in found.notes)


def test_linear_evaluation_of_weights() -> None:
    """They are converted first, with what the line tells of them."""
    line = LINEAR.format("xview", "motion")
    found = translate(f"{line} --weights weights/ntu60_xview_motion.pt --topk 5")
    assert found.lines() == [
        "kinegraph convert weights/ntu60_xview_motion.pt --system aimclr --stream joint-motion"
        " --split xview --out weights/ntu60_xview_motion.safetensors",
        "kinegraph train ntu-aimclr-linear --data.store STORE --data.split xview"
        " --stream joint-motion --start.run weights/ntu60_xview_motion.safetensors",
    ]
    assert not any("RUN" in note for note in found.notes)
    ours = translate(f"{line} --weights runs/ours.safetensors")
    assert len(ours.commands) == 1
    assert ours.commands[0][-2:] == ("--start.run", "runs/ours.safetensors")


def test_weights_of_a_settings_file(tmp_path: Path) -> None:
    config = tmp_path / "ntu60_linear.yaml"
    config.write_text(
        "weights: work/epoch300_model.pt\nstream: bone\n"
        "train_feeder_args: {data_path: NTU60_frame50/xview/train_position.npy}\n"
    )
    found = translate(f"main.py linear_evaluation --config {config}")
    assert found.commands[0][2] == "work/epoch300_model.pt"
    recipe = recipe_of(found.commands[1])
    assert (recipe.data.split, recipe.stream) == ("xview", "bone")
    assert recipe.start.run == "work/epoch300_model.safetensors"


@pytest.mark.parametrize(("word", "share"), [("finetune_evaluation", None), ("semi", 0.1)])
def test_fine_tuning(word: str, share: float | None) -> None:
    line = LINEAR.replace("linear_evaluation", word).format("xview", "joint")
    recipe = recipe_of(translate(line).commands[0])
    assert (recipe.start.learns, recipe.start.statistics) == ("all", "kept")
    assert recipe.data.label_share == share
    assert recipe.optim.lr == 0.1
    assert recipe.optim.clip_norm == (2 if word == "semi" else None)
    slower = recipe_of(translate(f"{line} --base_lr 0.02").commands[0])
    assert slower.optim.lr == 0.02


def test_kin_of_aimclr() -> None:
    line = "python main.py pretrain_{0} --config config/ntu60/pretext/pretext_{0}_xview{1}.yaml"
    single = recipe_of(translate(line.format("skeletonclr", "_bone")).commands[0])
    assert single.objective.name == "skeletonclr"  # type: ignore[attr-defined]
    assert single.stream == "bone"
    three = recipe_of(translate(line.format("crossclr_3views", "")).commands[0])
    assert three.objective.model_dump()["streams"] == ("joint", "joint-motion", "bone")
    two = recipe_of(
        translate(f"{line.format('crossclr', '')} --cross_epoch 90 --context False").commands[0]
    )
    found = two.objective.model_dump()
    assert found["streams"] == ("joint", "joint-motion")
    assert (found["cross_epoch"], found["context"]) == (90, False)
    assert two.stream == "joint"


def test_a_classifier_for_each_stream() -> None:
    line = "main.py linear_evaluation --config config/ntu60/linear_eval/linear_crossclr_xsub.yaml"
    found = translate(f"{line} --view all --weights w/epoch300_model.pt --work_dir w/linear")
    assert "--system crossclr --stream joint" in found.lines()[0]
    assert [recipe_of(words).stream for words in found.commands[1:]] == list(STREAMS.values())
    places = [words[words.index("--out") + 1] for words in found.commands[1:]]
    assert places == [f"w/linear-{stream}" for stream in STREAMS.values()]
    assert {recipe_of(words).start.run for words in found.commands[1:]} == {
        "w/epoch300_model.safetensors"
    }


def test_all_streams_of_unknown_weights_are_those_of_crossclr() -> None:
    """Only its files have several: they are converted once, and not over and over."""
    found = translate(
        "main.py linear_evaluation --config config/ntu60/a.yaml --view all --weights F"
    )
    assert found.lines()[0] == (
        "kinegraph convert F --system crossclr --stream joint --split xsub --out F.safetensors"
    )
    assert [words[1] for words in found.commands] == ["convert", "train", "train", "train"]


@pytest.mark.parametrize(
    ("word", "config", "weights", "system"),
    [
        ("linear_evaluation", "AimCLR/config/ntu60/linear_crossclr_xsub", "w", "crossclr"),
        ("linear_evaluation", "AimCLR/config/ntu60/linear_xsub", "AimCLR/skeletonclr_bone", "skel"),
        ("linear_evaluation", "AimCLR/config/ntu60/linear_xsub", "AimCLR/w", None),
        ("finetune_evaluation", "crossclr/config/ntu60/f_aimclr", "crossclr/w", "aimclr"),
        ("pretrain_skeletonclr", "AimCLR/config/ntu60/aimclr", "aimclr", "skeletonclr"),
        ("pretrain_crossclr_3views", "AimCLR/config/ntu60/a", "aimclr", "crossclr"),
    ],
)
def test_whose_weights_they_are(word: str, config: str, weights: str, system: str | None) -> None:
    """What is done tells it, then names of files; the folders that they lie in do not."""
    line = f"main.py {word} --config /home/me/{config}.yaml --weights {weights}.pt"
    words = translate(line).commands[0]
    found = words[words.index("--system") + 1] if "--system" in words else None
    assert found == (system.replace("skel", "skeletonclr") if system == "skel" else system)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("/home/pkumar/AimCLR/config/ntu60/pretext_xview", "ntu60 SOURCE --cleaning stgcn"),
        ("/home/ntu/AimCLR/config/pku_v1/pretext_xview", "pku-mmd SOURCE --part 1"),
        ("config/pku_v2/pretext_xview", "pku-mmd SOURCE --part 2"),
        ("/home/pku/ntu-120/pretext_cross-view", "ntu120 SOURCE"),
        ("/home/xsub/config/NTU60/pretext_aimclr_xview", "ntu60 SOURCE"),
    ],
)
def test_recordings_are_whole_words_near_the_end(config: str, words: str) -> None:
    found = translate(f"main.py pretrain_aimclr --config {config}.yaml")
    assert f"kinegraph data import {words}" in found.notes[0]
    assert recipe_of(found.commands[0]).data.split == "xview"


def test_a_folder_of_the_user_tells_no_recordings() -> None:
    for config in ("/home/ubuntu/a.yaml", "/home/pkumar/a.yaml", "/home/ntu/config/a.yaml"):
        with pytest.raises(RecipeError, match="does not tell which recordings"):
            translate(f"main.py pretrain_aimclr --config {config}")


def test_classes_that_pretrained_files_do_not_tell() -> None:
    line = LINEAR.replace("ntu60", "{}").format("{}", "xsub", "joint") + " --weights w.pt"
    for name, classes in (("ntu60", ""), ("ntu120", "--classes ntu120"), ("pku", "pku-mmd")):
        assert classes in translate(line.format(name)).lines()[0]
        assert ("--classes" in translate(line.format(name)).lines()[0]) == bool(classes)


def test_options_that_a_linear_evaluation_has_no_use_for() -> None:
    line = f"{LINEAR.format('xsub', 'joint')} --topk 1 5 --mining_epoch 9 --cross_epoch 9"
    notes = translate(line).notes
    assert any(note.startswith("--topk: top-1, top-5") for note in notes)
    for flag in ("mining_epoch", "cross_epoch"):
        assert f"--{flag}: it is an option of pre-training" in notes


def test_tests_of_classifiers() -> None:
    line = LINEAR.format("xsub", "bone")
    found = translate(f"{line} --phase test --weights w/best.pt --test_batch_size 64 --device 0")
    assert found.lines() == [
        "kinegraph convert w/best.pt --system aimclr --stream bone --split xsub"
        " --out w/best.safetensors",
        "kinegraph test w/best.safetensors --data.store STORE --out w/best.npz --batch-size 64"
        " --device 0",
    ]


def test_ensemble_of_their_streams() -> None:
    (words,) = translate("python ensemble.py", "aimclr").commands
    assert words[5:] == ("--streams", "joint", "bone", "joint-motion", "--preset", "aimclr")
    for program in (None, "aimclr"):
        assert translate("python ensemble_ntu_cs.py", program).commands == (words,)
    with pytest.raises(RecipeError, match="'ensemble_ntu_cs' is no script of theirs"):
        translate("python ensemble_ntu_cs.py", "ctrgcn")


def test_training_of_the_others_begins_from_weights() -> None:
    line = "python main.py --config config/nturgbd-cross-view/bone.yaml --weights a/b.pt"
    convert, train = (shlex.split(text) for text in translate(line).lines())
    assert convert[:3] == ["kinegraph", "convert", "a/b.pt"]
    assert convert[-2:] == ["--out", "a/b.safetensors"]
    assert train[-2:] == ["--start.run", "a/b.safetensors"]
    assert recipe_of(tuple(train)).stream == "bone"
    assert "the head begins anew" in " ".join(translate(line).notes)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("main.py pretrain_aimclr --config config/mine.yaml", "does not tell which recordings"),
        ("main.py pretrain_aimcl --config config/ntu60/a.yaml", "nearest: 'pretrain_aimclr'"),
        (f"{PRETRAIN.format('xsub', 'joint')} --phase test", "kinegraph probe RUN tells"),
        (f"{LINEAR.format('xsub', 'joint')} --phase test", "needs --weights"),
        (f"{LINEAR.format('xsub', 'joint')} --minig_epoch 3", "--minig_epoch: no option of aimclr"),
        (f"{LINEAR.format('xsub', 'joint')} --stream bonne", "unknown --stream 'bonne'; nearest"),
        (f"{PRETRAIN.format('xsub', 'joint')} --view all", "about one stream"),
        (f"{PRETRAIN.format('xsub', 'joint')} --optimizer Adam", "adds the weight decay to the"),
        (f"{PRETRAIN.format('xsub', 'joint')} --base_lr abc", "--base_lr abc cannot .* a number"),
        (f"{PRETRAIN.format('xsub', 'joint')} --topk 0", "--topk 0 cannot be translated"),
        (f"{PRETRAIN.format('xsub', 'joint')} --num_epoch", "--num_epoch needs a value"),
        (f"{PRETRAIN.format('xsub', 'joint')} --device", "--device needs a value"),
        (f"{PRETRAIN.format('xsub', 'joint')} --cross_epoch 9", "--cross_epoch: no option of aim"),
        (f"{KIN.format('skeletonclr')} --topk 2", "--topk: no option of skeletonclr"),
        (f"{KIN.format('skeletonclr')} --mining_epoch 9", "--mining_epoch: no option of skel"),
        (f"{KIN.format('crossclr')} --mining_epoch 9", "--mining_epoch: no option of crossclr"),
        (f"{LINEAR.format('xsub', 'joint')} --view all --weights w.pt", "of aimclr is of one str"),
        (f"{LINEAR.format('xsub', 'joint')} --view motion --stream bone", "different streams"),
        ("main.py pretrain_aimclr --config config/nw-ucla/a.yaml", "recipes are nw-ucla-aimclr"),
        (
            f"{LINEAR.format('xsub', 'joint')} --phase test --weights w.pt --test_batch_size all",
            "--test_batch_size all: expected a whole number",
        ),
    ],
)
def test_what_cannot_be_translated_is_named(line: str, reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        translate(line)
