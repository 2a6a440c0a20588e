"""Settings files of the original programs that are there: what a translation takes from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kinegraph.compat.translate import translate
from kinegraph.errors import RecipeError
from kinegraph.recipe import Recipe, load_recipe

GRAPH = {"layout": "ntu-rgb+d", "strategy": "spatial"}
# The published settings of a pre-training, which are those of our recipe.
PRETRAINING: dict[str, Any] = {
    "work_dir": "work",
    "feeder": "feeder.ntu_feeder.Feeder_triple",
    "train_feeder_args": {
        "data_path": "NTU60_frame50/xsub/train_position.npy", "label_path": "train_label.pkl",
        "shear_amplitude": 0.5, "temperal_padding_ratio": 6, "mmap": True,
    },
    "model": "net.aimclr.AimCLR",
    "model_args": {
        "base_encoder": "net.st_gcn.Model", "pretrain": True, "feature_dim": 128,
        "queue_size": 32768, "momentum": 0.999, "Temperature": 0.07, "mlp": True, "in_channels": 3,
        "hidden_channels": 16, "hidden_dim": 256, "num_class": 60, "dropout": 0.5,
        "graph_args": GRAPH, "edge_importance_weighting": True,
    },
    "nesterov": False, "weight_decay": 1e-4, "base_lr": 0.1, "optimizer": "SGD", "step": [250],
    "stream": "joint", "mining_epoch": 150, "topk": 1, "phase": "train", "device": [0],
    "batch_size": 128, "num_epoch": 300, "save_interval": 5, "num_worker": 16,
}  # fmt: skip
CTRGCN: dict[str, Any] = {
    "train_feeder_args": {
        "data_path": "data/ntu/NTU60_CS.npz", "split": "train", "debug": False,
        "random_choose": False, "random_move": False, "random_rot": True, "window_size": 64,
        "p_interval": [0.5, 1], "bone": False, "vel": False,
    },
    "test_feeder_args": {"data_path": "data/ntu/NTU60_CS.npz", "p_interval": [0.95]},
    "model": "model.ctrgcn.Model",
    "model_args": {"num_class": 60, "num_point": 25, "graph": "graph.ntu_rgb_d.Graph"},
    "weight_decay": 0.0004, "base_lr": 0.1, "step": [35, 55], "batch_size": 64, "num_epoch": 65,
    "warm_up_epoch": 5, "nesterov": True,
}  # fmt: skip


def written(folder: Path, values: dict[str, Any], **changes: Any) -> Path:
    """Write a settings file, with other values by dotted names (two underscores for a dot)."""
    values = yaml.safe_load(yaml.safe_dump(values))
    for name, value in changes.items():
        *sections, last = name.split("__")
        place = values
        for section in sections:
            place = place[section]
        place[last] = value
    path = folder / "ntu60_nturgbd-cross-subject.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def trained(line: str) -> tuple[Recipe, tuple[str, ...]]:
    """Return the recipe that the last command of a translation trains, and the remarks."""
    found = translate(line)
    words = found.commands[-1]
    assert words[:2] == ("kinegraph", "train")
    pairs = zip(words[3::2], words[4::2], strict=True)
    return load_recipe(words[2], [(key[2:], text) for key, text in pairs]), found.notes


def left(notes: tuple[str, ...]) -> str:
    return " ".join(note for note in notes if note.startswith("not taken over from the file: "))


def test_published_settings_are_those_of_the_recipe(tmp_path: Path) -> None:
    found = translate(f"main.py pretrain_aimclr --config {written(tmp_path, PRETRAINING)}")
    assert found.lines() == ["kinegraph train ntu-aimclr --data.store STORE"]
    assert not left(found.notes)
    found = translate(f"main.py --config {written(tmp_path, CTRGCN)}")
    assert found.lines() == ["kinegraph train ntu-ctrgcn --data.store STORE"]
    assert not left(found.notes)


def test_other_settings_are_taken_over(tmp_path: Path) -> None:
    config = written(
        tmp_path, PRETRAINING, base_lr=0.05, num_epoch=200, batch_size=64, step=[100, 150],
        mining_epoch=90, topk=2, stream="bone", model_args__queue_size=4096,
        model_args__Temperature=0.1, model_args__momentum=0.99, model_args__hidden_channels=32,
        model_args__feature_dim=64, train_feeder_args__shear_amplitude=0.3, weights="w/a.pt",
    )  # fmt: skip
    recipe, notes = trained(f"main.py pretrain_aimclr --config {config}")
    assert not left(notes)
    assert (recipe.optim.lr, recipe.schedule.steps, recipe.stream) == (0.05, (100, 150), "bone")
    assert (recipe.training.epochs, recipe.training.batch_size) == (200, 64)
    assert recipe.start.run == "w/a.safetensors"
    values = recipe.model_dump()
    assert values["backbone"]["width"] == 32
    expected = {
        "mining_epoch": 90, "top_k": 2, "queue": 4096, "temperature": 0.1, "momentum": 0.99,
        "width": 64,
    }  # fmt: skip
    assert expected.items() <= values["objective"].items()
    for view in ("query", "key", "extreme"):
        assert values["transforms"][view][2]["amplitude"] == 0.3


def test_the_line_wins_over_its_file(tmp_path: Path) -> None:
    config = written(tmp_path, PRETRAINING, base_lr=0.05, num_epoch=200)
    recipe, _ = trained(f"main.py pretrain_aimclr --config {config} --base_lr 0.1")
    assert (recipe.optim.lr, recipe.training.epochs) == (0.1, 200)


def test_what_is_not_taken_over_is_named(tmp_path: Path) -> None:
    config = written(
        tmp_path, PRETRAINING, base_lr="fast", model_args__mlp=False, train_feeder_args__odd=3,
        train_feeder_args__aug_method="123456", more={"a": {"b": {"c": 1}}}, nothing=None,
    )  # fmt: skip
    _, notes = trained(f"main.py pretrain_aimclr --config {config}")
    for option in (
        "base_lr fast", "model_args.mlp False", "train_feeder_args.odd 3",
        "train_feeder_args.aug_method 123456", "more.a.b a value of type dict",
    ):  # fmt: skip
        assert option in left(notes)
    assert "nothing" not in left(notes)
    long = written(tmp_path, PRETRAINING, odd="\x1b[0m" + 10**5 * "a")
    text = left(translate(f"main.py pretrain_aimclr --config {long}").notes)
    assert len(text) < 130
    assert text.isprintable()
    many = written(tmp_path, PRETRAINING, **{f"option{i}": i for i in range(100)})
    assert "and 80 more" in left(translate(f"main.py pretrain_aimclr --config {many}").notes)


@pytest.mark.parametrize("name", ["skeletonclr", "crossclr"])
def test_options_that_another_method_has(name: str, tmp_path: Path) -> None:
    """One file may serve several: what the trained one has no use for is named."""
    config = written(tmp_path, PRETRAINING, train_feeder_args__shear_amplitude=0.3, base_lr=0.2)
    recipe, notes = trained(f"main.py pretrain_{name} --config {config}")
    assert "mining_epoch 150" in left(notes)
    assert recipe.objective.name == name  # type: ignore[attr-defined]
    assert recipe.optim.lr == 0.2
    assert recipe.model_dump()["transforms"]["query"][2]["amplitude"] == 0.3


def test_settings_of_a_linear_evaluation(tmp_path: Path) -> None:
    """What is switched off there, and what only heads and queues need, is not worth a remark."""
    config = written(
        tmp_path, PRETRAINING, base_lr=30.0, step=[80], num_epoch=90, weight_decay=0.0,
        train_feeder_args__shear_amplitude=-1, train_feeder_args__temperal_padding_ratio=-1,
        view="all", stream=None, model="net.crossclr_3views.CrosSCLR", weights="w/a.pt",
    )  # fmt: skip
    found = translate(f"main.py linear_evaluation --config {config}")
    assert "--system crossclr" in found.lines()[0]
    assert len(found.commands) == 4
    recipe, notes = trained(f"main.py linear_evaluation --config {config} --view motion")
    assert (recipe.optim.lr, recipe.training.epochs, recipe.stream) == (30, 90, "joint-motion")
    assert left(notes) == "not taken over from the file: mining_epoch 150"


def test_the_other_programs(tmp_path: Path) -> None:
    config = written(
        tmp_path, CTRGCN, batch_size=32, model="model.aagcn.Model", weights="a.pt",
        train_feeder_args__random_rot=False, train_feeder_args__p_interval=[0.6, 1],
    )  # fmt: skip
    recipe, notes = trained(f"main.py --config {config}")
    assert recipe.training.batch_size == 32
    assert recipe.backbone.name == "aagcn"  # type: ignore[attr-defined]
    assert recipe.model_dump()["transforms"]["train"][0]["proportion"] == (0.6, 1)
    assert left(notes).endswith(": train_feeder_args.random_rot False")
    assert recipe.start.run == "a.safetensors"
    line = f"main.py --config {written(tmp_path, CTRGCN, cl_mode='ST-Multi-Level', w_cl_loss=0.3)}"
    assert trained(f"{line} --cl-version V1")[0].model_dump()["objective"]["weight"] == 0.3
    plain, notes = trained(f"{line} --cl-mode None")
    assert plain.objective.name == "classify"  # type: ignore[attr-defined]
    assert "w_cl_loss 0.3" in left(notes)


def test_a_file_that_asks_for_another_optimiser_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="optimizer Adam: it adds the weight decay"):
        translate(f"main.py --config {written(tmp_path, CTRGCN, optimizer='Adam')}")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            {"stream": ["joint", "bone"]},
            "unknown stream in the settings file 'a value of type list'",
        ),
        ({"stream": "Motion"}, "unknown stream in the settings file 'Motion'"),
        ({"stream": None, "view": "bonne"}, "unknown view in the settings file 'bonne'; nearest"),
        ({"stream": "all"}, "stream: all in the settings file: a command here is about one stream"),
        ({"view": "motion"}, "stream: joint .* and view: motion .* name different streams"),
    ],
)
def test_streams_of_a_file_that_are_refused(
    values: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    line = f"main.py pretrain_aimclr --config {written(tmp_path, PRETRAINING, **values)}"
    with pytest.raises(RecipeError, match=reason):
        translate(line)
    assert trained(f"{line} --stream bone")[0].stream == "bone"  # which the line says


def test_the_learning_rate_of_fine_tuning(tmp_path: Path) -> None:
    """One that is named is taken and printed, be it that of a linear evaluation."""
    line = "main.py finetune_evaluation --config"
    said = f"{line} {written(tmp_path, {}, base_lr=3.0)}"
    for words, rate in ((said, "3.0"), (f"{line} config/ntu60/a.yaml --base_lr 3", "3")):
        found = translate(words)
        assert f"--optim.lr {rate} " in f"{found.lines()[0]} "
        assert f"with your learning rate {rate}; one that suits" in " ".join(found.notes)
    assert trained(f"{said} --base_lr 0.02")[0].optim.lr == 0.02
    usual = translate(f"{line} config/ntu60/a.yaml")
    assert "--optim.lr 0.1 " in f"{usual.lines()[0]} "
    assert "but for a learning rate that suits a whole network, 0.1" in " ".join(usual.notes)


def test_what_a_file_says_goes_before_its_folders(tmp_path: Path) -> None:
    """They are the user's, and may be called as a data set or a split is."""
    for folder, values, data_path, expected in (
        ("ucla_server/run", CTRGCN, "data/ntu/NTU60_CS.npz", ("xsub", "ntu60")),
        ("ucla", CTRGCN, "/home/ucla/NTU60_CV.npz", ("xview", "ntu60")),
        ("nturgbd-cross-subject", CTRGCN, "data/NTU120_CSet.npz", ("xset", "ntu120")),
        ("home/cs/run1", PRETRAINING, "/data/ntu60/xview/train_position.npy", ("xview", "ntu60")),
        ("home/ntu/run1", PRETRAINING, "/data/ntu120/xset/train_position.npy", ("xset", "ntu120")),
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        path = written(tmp_path / folder, values, train_feeder_args__data_path=data_path)
        path = path.rename(path.with_name("config.yaml"))
        if values is CTRGCN:
            path.write_text(path.read_text().replace("data/ntu/NTU60_CS.npz", data_path))
        word = "" if values is CTRGCN else "pretrain_aimclr "
        found = translate(f"main.py {word}--config {path}")
        assert f"kinegraph data import {expected[1]} " in found.notes[0]
        words = found.commands[-1]
        assert words[2] == ("ntu-ctrgcn" if values is CTRGCN else "ntu-aimclr")
        split = words[words.index("--data.split") + 1] if "--data.split" in words else "xsub"
        assert split == expected[0]


def test_recordings_of_infogcn_in_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "nturgbd-cross-subject"
    folder.mkdir()
    config = folder / "a.yaml"
    config.write_text("dataset: ntu120\ndatacase: CSet\nmodal_idx: 0\n")
    line = f"main.py --model infogcn.InfoGCN --config {config}"
    found = translate(line)
    assert "--data.split xset" in found.lines()[0]
    assert "data import ntu120" in found.notes[0]
    assert "--data.split xview" in translate(f"{line} --dataset ntu --datacase CV").lines()[0]


def test_only_the_last_folder_of_a_file_that_is_not_there_tells_something() -> None:
    with pytest.raises(RecipeError, match="does not tell which recordings"):
        translate("main.py --config ucla_server/run/config.yaml", "ctrgcn")
    assert "nw-ucla" in translate("main.py --config ucla/joint.yaml").lines()[0]


@pytest.mark.parametrize(("word", "values"), [("", CTRGCN), ("linear_evaluation", PRETRAINING)])
def test_a_phase_in_a_file(word: str, values: dict[str, Any], tmp_path: Path) -> None:
    line = f"main.py {word} --config {written(tmp_path, values, phase='test', weights='a.pt')}"
    assert [words[1] for words in translate(line).commands] == ["convert", "test"]
    assert translate(f"{line} --phase train").commands[-1][1] == "train"
    with pytest.raises(RecipeError, match="unknown --phase 'tset'; nearest: 'test'"):
        translate(f"{line} --phase tset")
    line = f"main.py {word} --config {written(tmp_path, values, phase='validate')}"
    with pytest.raises(RecipeError, match="unknown phase in the settings file 'validate'"):
        translate(line)


def test_half_in_a_file(tmp_path: Path) -> None:
    config = written(tmp_path, CTRGCN, half=False)
    assert trained(f"main.py --config {config}")[0].training.precision == "fp32"
    usual = trained(f"main.py --config {config} --half True")[0].training.precision
    assert usual == load_recipe("ntu-ctrgcn").training.precision != "fp32"


def test_the_line_wins_where_its_file_asks_for_what_there_is_not(tmp_path: Path) -> None:
    config = written(tmp_path, CTRGCN, optimizer="Adam")
    assert trained(f"main.py --config {config} --optimizer SGD")[0].optim.name == "sgd"


def test_a_k_that_makes_every_input_zero(tmp_path: Path) -> None:
    """The line may say another, and of LST it means the joints."""
    config = tmp_path / "nturgbd-cross-subject.yaml"
    config.write_text("k: 0\n")
    with pytest.raises(RecipeError, match=r"says k = 0, .*: say another on the line, .* --k 8"):
        translate(f"main.py --config {config}", "infogcn")
    line = f"main.py --config {config} --k 1 --use_vel True"
    assert "--stream k-mode-1-motion" in translate(line, "infogcn").lines()[0]
    joints = trained(f"main_multipart_ntu.py --config {config}")[0]
    assert joints.stream == "k-mode-8"
    with pytest.raises(RecipeError, match="by --stream joint, motion or bone"):
        translate(f"main.py pretrain_aimclr --config {config}")
    assert translate(f"main.py pretrain_aimclr --config {config} --stream bone").commands
