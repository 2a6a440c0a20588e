"""Several processes train, stop, go on and score like one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors import safe_open

from kinegraph.data.clip import Clip, Track
from kinegraph.data.store_writer import create_store
from kinegraph.errors import RecipeError, TrainingError
from kinegraph.recipe import load_recipe, parse_recipe
from kinegraph.skeleton import load_layout
from kinegraph.training.launch import RENDEZVOUS, devices_of, join_devices, run_ranks, several
from kinegraph.training.run_folder import RunFolder

DRIVER = Path(__file__).with_name("distributed_runs.py")
STOPPED = 128 + signal.SIGTERM

PLAIN = '''
from typing import Literal
from torch import nn
from kinegraph.backbones import BACKBONES
from kinegraph.backbones.base import Backbone, Features
from kinegraph.registry import Component, Config


class PlainConfig(Config):
    name: Literal["plain"] = "plain"


class Plain(Backbone):
    """A network of PyTorch's own parts, which knows nothing of several processes."""

    def __init__(self, channels):
        super().__init__()
        self.layer = nn.Sequential(nn.Conv2d(channels, 6, (3, 1)), nn.BatchNorm2d(6), nn.ReLU())
        self.out_channels, self.stage_channels, self.stage_strides = 6, {}, {}

    def forward(self, x, present=None, stages=()):
        return Features(self.layer(x.mean(4)).mean((2, 3)))


BACKBONES["plain"] = Component("Plain.", PlainConfig, lambda c, s, channels, *_: Plain(channels))
'''
# Ends one process in the middle of its work, without a word to the others.
DEADLY = """
import os, sys
from kinegraph.objectives.classify import Classify

forward, steps = Classify.forward, [0]


def deadly(self, *batches):
    steps[0] += 1
    if steps[0] == 6 and os.environ.get("RANK", "-") == os.environ.get("TEST_DIES"):
        print("no strength left", file=sys.stderr, flush=True)
        os._exit(9)
    return forward(self, *batches)


Classify.forward = deadly
"""


def make_people(path: Path) -> None:
    """Write 23 clips, every third of two people: 12 to train and 11 to test."""
    skeleton, random = load_layout("coco17"), np.random.default_rng(0)
    with create_store(path, skeleton, ["one", "two"], source="a test") as writer:
        for number in range(23):
            frames, label = int(random.integers(9, 15)), number % 2
            shape = (frames, 17, skeleton.coordinates.channels)
            tracks = [
                Track(joints=random.normal(label, 0.3, shape), person=person)
                for person in range(1 + (number % 3 == 0))
            ]
            writer.add(
                Clip(f"clip {number}", tuple(tracks), frames, label=label,
                     subject=1 + number // 2 % 2, camera=1, setup=1)
            )  # fmt: skip
        writer.default_split = "subjects"


def make_odd(folder: Path) -> None:
    """Write a folder of recordings, some of them empty or not finite, and one that is none."""
    random = np.random.default_rng(1)
    folder.mkdir()
    clips = random.normal(0, 0.3, (6, 10, 17, 3)).astype(np.float32)
    clips[1:4, 3] = np.nan
    np.savez(folder / "recordings.npz", x=clips)


SIZES = {
    "people": (1, 2, 3), "original": (1, 3), "plain": (1, 2), "watched": (1, 3), "begun": (1, 3),
}  # fmt: skip
LOOKS = ("1-0", "3-0", "3-1", "3-2")  # processes, and which of them
UNLABELLED = ("aimclr", "aimclr-original", "crossclr")
EXACT = ("people", "original", "two-stream", "bottleneck", "refine", "language", *UNLABELLED)


@pytest.fixture
def folder(
    tmp_path: Path, tiny_recipe: Callable[..., dict[str, Any]], request: pytest.FixtureRequest
) -> Path:
    """A folder with a store and the recipes that the driver trains."""
    make_people(tmp_path / "store")
    make_odd(tmp_path / "odd")
    (tmp_path / "plain.py").write_text(PLAIN)
    (tmp_path / "deadly.py").write_text(DEADLY)
    common = {"optim": {"lr": 0.001, "clip_norm": 1.0}, "data": {"persons": 2}}
    # Batches of 5, 5 and 2 clips: the third of three processes gets none of the last.
    training = {"epochs": 2, "batch_size": 5, "drop_last": False}
    recipes = {
        "people": tiny_recipe(
            training={**training, "accumulate": 2, "ema": 0.9}, evaluation={"selection": "test"},
            **common,
        ),
        "original": tiny_recipe(
            quirks="original", training=training, **common
        ) | {"backbone": {"name": "ctrgcn", "width": 8}},
        "plain": tiny_recipe(training=training, **common) | {"backbone": {"name": "plain"}},
        "dropout": tiny_recipe(
            training=training, backbone={"dropout": 0.3},
            objective={"name": "classify", "dropout": 0.3}, **common,
        ),
        "two-stream": tiny_recipe(
            training=training, objective={"name": "two-stream"}, **common
        ) | {"backbone": {"name": "stgcn-v1", "width": 4, "dropout": 0.0}},
        "bottleneck": tiny_recipe(
            training=training, objective={"name": "bottleneck", "marginal": 0.5}, **common
        ) | {"backbone": {"name": "infogcn", "width": 8}},
        "refine": tiny_recipe(
            training=training, objective={"name": "refine", "version": "V2", "width": 20}, **common
        ) | {"backbone": {"name": "tcagcn", "width": 8}},
        "language": tiny_recipe(
            training=training, objective={"name": "language", "weight": 5.0}, **common
        ) | {"backbone": {"name": "aagcn", "width": 8}},
    }  # fmt: skip
    views = dict.fromkeys(("extreme", "query", "key"), recipes["people"]["transforms"]["train"])
    unlabelled = {
        "aimclr": {"name": "aimclr", "mining_epoch": 0, "top_k": 2},
        "crossclr": {"name": "crossclr", "cross_epoch": 0, "streams": ["joint", "bone"]},
    }
    for name, objective in unlabelled.items():  # a queue that two batches fill, and wrap
        recipes[name] = tiny_recipe(
            training=training, transforms=views, objective={**objective, "queue": 7}, **common
        )
    recipes["watched"] = recipes["aimclr"] | {
        "evaluation": {"selection": "test", "every": 1},
        "optim": {"lr": 0.0001, "clip_norm": 1.0},  # its crops make gradients that differ more
    }
    crop = [{"name": "crop_resize", "length": 6, "proportion": [0.3, 1.0], "minimum": 3}]
    recipes["watched"]["transforms"] = dict.fromkeys(("extreme", "query", "key", "test"), crop)
    recipes["begun"] = tiny_recipe(
        training=training, start={"run": str(tmp_path / "people-1"), "learns": "head"}, **common
    )
    recipes["aimclr-original"] = recipes["aimclr"] | {"quirks": "original"}
    if find_spec("transformers"):
        trained = {"encoder": str(request.getfixturevalue("sentence_encoder"))}
        recipes["encoder"] = recipes["language"] | {
            "objective": recipes["language"]["objective"] | trained
        }
    for name, recipe in recipes.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def tensors_of(run: Path, name: str = "last") -> dict[str, np.ndarray]:
    with safe_open(run / "checkpoints" / f"{name}.safetensors", framework="np") as file:
        names = [key for key in file.keys() if not key.startswith("random/")]  # noqa: SIM118
        return {key: file.get_tensor(key) for key in names}


def rows_of(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same_run(one: Path, other: Path, *, name: str = "last") -> None:
    """Weights, running statistics and losses agree; gradients differ more in float32."""
    found = tensors_of(other, name)
    for key, value in tensors_of(one, name).items():
        within = 2e-3 if key.startswith("optimizer/") else 1e-5
        np.testing.assert_allclose(found[key], value, rtol=within, atol=within, err_msg=key)
    for row, other_row in zip(rows_of(one), rows_of(other), strict=True):
        if "test_knn" in row:
            row["test_knn"] = other_row["test_knn"]  # see below
        assert other_row == pytest.approx(row, rel=1e-5, abs=1e-5)


@pytest.mark.slow
def test_several_processes_are_one(folder: Path) -> None:
    command = [sys.executable, str(DRIVER), str(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    errors = (folder / "errors.txt").read_text()

    # Weights, optimiser, moving average, running statistics, metrics: all of it.
    for recipe, sizes in SIZES.items():
        for size in sizes:
            assert results[f"{recipe}-{size}"] == [0] * size, errors
            assert_same_run(folder / f"{recipe}-1", folder / f"{recipe}-{size}")
    assert_same_run(folder / "people-1", folder / "people-3", name="best")
    # The nearest of clips that are nearly equal is a matter of rounding; spread out, it is not.
    for size in (1, 3):
        assert results[f"looks-{size}"] == [0] * size, errors
    alone, *shared = (json.loads((folder / f"looks-{n}.json").read_text()) for n in LOOKS)
    assert {"test_knn", "alignment", "uniformity"} == alone.keys()
    assert shared[0] == shared[1] == shared[2] == pytest.approx(alone, rel=1e-2)
    for size in SIZES["watched"]:
        found = [row["test_knn"] for row in rows_of(folder / f"watched-{size}")]
        with safe_open(folder / f"watched-{size}/checkpoints/best.safetensors", "np") as file:
            epoch = json.loads(file.metadata()["kinegraph"])["epoch"]
        assert found.index(max(found)) + 1 == epoch

    check_begun(folder)

    # In float64 nothing is left but rounding.
    for recipe in (*EXACT, "encoder") if find_spec("transformers") else EXACT:
        one = np.load(folder / f"{recipe}-1.npz")
        largest = max(np.abs(one[key]).max() for key in one.files if "/gradient/" in key)
        assert one.files[-1].startswith("2/"), "three batches"
        for size in (2, 3):
            assert results[f"exactly {recipe}-{size}"] == [0] * size
            other = np.load(folder / f"{recipe}-{size}.npz")
            for key in one.files:
                scale = largest if "/gradient/" in key else 1.0
                np.testing.assert_allclose(other[key], one[key], atol=1e-10 * scale, err_msg=key)

    # One process, then three, then two: each stopped by a signal that only one of them got.
    assert results["moved"] == [STOPPED]
    assert results["moved again"] == [[STOPPED] * 3, [0, 0]]
    assert_same_run(folder / "original-1", folder / "moved")

    # With as many processes as before, a run ends with the same bits, random numbers included.
    assert results["dropout-stopped"] == [STOPPED] * 2
    assert results["dropout-stopped again"] == [[0, 0]]
    assert rows_of(folder / "dropout-stopped") == rows_of(folder / "dropout-whole")
    for key, value in tensors_of(folder / "dropout-whole").items():
        assert np.array_equal(tensors_of(folder / "dropout-stopped")[key], value), key

    assert results["scores-3"] == [0, 0, 0]
    one, three = (np.load(folder / f"scores-{size}.npz") for size in (1, 3))
    assert one["names"].tolist() == three["names"].tolist()
    assert np.array_equal(one["labels"], three["labels"])
    np.testing.assert_allclose(three["logits"], one["logits"], atol=1e-5)

    # Every process predicted some of the recordings, and found some of the bad ones.
    assert results["says-3"] == [0, 0, 0]
    said, also = (json.loads((folder / f"says-{size}.json").read_text()) for size in (1, 3))
    assert len(said) == 23 + 3
    assert rounded(also) == rounded(said)
    complaints, others = (
        sorted((folder / f"says-{size}.err").read_text().splitlines()) for size in (1, 3)
    )
    assert len(complaints) == 4
    assert all(line.startswith("left out: ") for line in complaints)
    assert others == complaints

    assert results["exchange"] == [0, 0, 0]
    check_exchange([json.loads((folder / f"exchange-{r}.json").read_text()) for r in range(3)])


def check_begun(folder: Path) -> None:
    """What was begun from another run, of which the first process alone read the file."""
    before = tensors_of(folder / "people-1", "best")
    for size in SIZES["begun"]:
        for key, value in tensors_of(folder / f"begun-{size}").items():
            if key.startswith("model/backbone."):
                assert np.array_equal(value, before[key.replace("model/", "ema/")]), key
        assert "beginning from the encoder of " in (folder / f"begun-{size}/log.txt").read_text()


def check_exchange(facts: list[dict[str, Any]]) -> None:
    for own in facts:
        assert own["spread"] == [1.0, 1.0, 1.0]
        assert own["norm"] == "BatchNorm"
        assert own["greatest"] == 10
        assert own["bytes"] == "of the first"
        assert own["collected"] == ["", "x", "xx"]
        assert own["gathered"] == [[1.0] * 3] * 2 + [[2.0] * 3] * 4
        used, sometimes, never, *norms = own["gradients"]
        assert used == [6.0] * 3
        assert sometimes == [[5.0, 5.0], [5.0, 5.0]]
        assert never is None
        assert norms == [None, None]
        assert own["sums"] == {"loss": 1.5}
    assert [own["seeded"] for own in facts] == [False, True, True]
    assert len({own["draw"] for own in facts}) == 3


def cli(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kinegraph", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        env={**os.environ, **environment},
    )


@pytest.mark.slow
def test_a_process_that_dies_stops_the_run_which_then_goes_on(folder: Path) -> None:
    from kinegraph.training.run import start

    recipe = load_recipe(str(folder / "people.yaml"), [("data.store", str(folder / "store"))])
    start(recipe, RunFolder(folder / "whole"), device="cpu")
    train = ("train", "people.yaml", "--data.store", "store", "--plugin", "deadly.py")
    dead = cli(folder, *train, "--out", "run", "--device", "cpu", "cpu", TEST_DIES="1")
    assert dead.returncode == 2
    assert dead.stdout == ""
    *_, lost, last = dead.stderr.splitlines()
    assert lost.startswith("kinegraph train: lost contact with the other processes: ")
    assert last == (
        "kinegraph train: rank 1 (cpu) ended with exit code 9; its last words: no strength left;"
        " go on with: kinegraph train --resume run --device cpu cpu"
    )
    assert len(rows_of(folder / "run")) == 1, "the first epoch had been saved"
    done = cli(folder, "train", "--resume", "run", "--device", "cpu", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "trained: run; next: kinegraph test run\n"
    assert_same_run(folder / "whole", folder / "run")


def rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    return [rounded(part) for part in value] if isinstance(value, list) else value


@pytest.mark.slow
def test_a_signal_to_the_launcher_stops_all_and_one_process_goes_on(folder: Path) -> None:
    long = ("--training.repeat", "2000", "--training.epochs", "1")
    words = ("train", "people.yaml", "--data.store", "store", "--out", "run", *long)
    command = [sys.executable, "-m", "kinegraph", *words, "--device", "cpu", "cpu"]
    child = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        while not (folder / "run" / "tensorboard").is_dir():  # it listens to signals
            assert child.poll() is None
            time.sleep(0.05)
        time.sleep(1)  # and by now the other process does, too
        child.send_signal(signal.SIGTERM)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == STOPPED, err
    assert out == ""
    assert err.splitlines()[-1] == (
        "stopped by signal 15; go on with: kinegraph train --resume run --device cpu cpu"
    )
    assert (folder / "run" / "checkpoints" / "last.safetensors").is_file()


@pytest.mark.slow
def test_torchrun_starts_it_too_and_one_process_speaks(folder: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = ["-m", "kinegraph", "train", "people.yaml", "--data.store", "store", "--out", "run"]
    more = ["--device", "cpu", "--training.epochs", "1"]
    done = subprocess.run([*torchrun, *words, *more], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "trained: run; next: kinegraph test run\n"
    assert done.stderr.count("epoch 1/1") == 1


def test_devices_after_an_option_become_one_word() -> None:
    words = ["run", "--device", "0", "1", "--json", "3"]
    assert join_devices(words) == ["run", "--device", "0,1", "--json", "3"]
    assert join_devices(["--device", "cpu", "run"]) == ["--device", "cpu", "run"]
    assert join_devices(["--device", "cpu", "cpu", "cpu"]) == ["--device", "cpu,cpu,cpu"]
    assert join_devices(["--device", "cuda:0", "cuda:1", "r"]) == ["--device", "cuda:0,cuda:1", "r"]
    assert join_devices(["--device"]) == ["--device"]
    assert join_devices(["--device=0", "1"]) == ["--device=0", "1"]
    assert join_devices(["1", "2"]) == ["1", "2"]


def test_devices_have_torchs_names() -> None:
    assert devices_of("auto") == ["auto"]
    assert devices_of("1") == ["cuda:1"]
    assert devices_of("0,1") == devices_of("cuda:0,1") == ["cuda:0", "cuda:1"]
    assert devices_of("cpu,cpu") == ["cpu", "cpu"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("0,0", "'cuda:0' is named twice"),
        ("0,cuda:0", "'cuda:0' is named twice"),
        ("cpu,0", "several devices must be of one kind"),
        ("cuda,1", "which 'cuda'? say cuda:0 or the like"),
        ("auto,0", "'auto' cannot be one of several devices"),
    ],
)
def test_lists_of_devices_that_make_no_sense(asked: str, words: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(words)):
        several(asked)


def test_only_a_process_that_is_alone_starts_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert several("cpu") == []
    assert several("cpu,cpu") == ["cpu", "cpu"]
    monkeypatch.setenv("RANK", "0")
    assert several("cpu,cpu") == []


def test_programs_are_told_to_use_the_command_line() -> None:
    with pytest.raises(TrainingError, match="the command line, or for torchrun"):
        run_ranks((), ["cpu", "cpu"], who="kinegraph train")


def test_processes_get_devices_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from kinegraph.training.distributed import own_device

    monkeypatch.setenv("RANK", "5")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for count, devices in ((0, {"auto": "cpu"}), (2, {"auto": "cuda:1", "cuda": "cuda:1"})):
        monkeypatch.setattr(torch.cuda, "is_available", lambda count=count: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        for asked, device in devices.items():
            assert own_device(asked) == device
    assert own_device("cpu") == "cpu"
    with pytest.raises(RecipeError, match="--device cpu cpu: this process can use one; torchrun"):
        own_device("cpu,cpu")
    with monkeypatch.context() as launched:
        launched.setenv(RENDEZVOUS, "a file")
        assert own_device("3,5") == "cuda:5"
    with pytest.raises(RecipeError, match="2 processes of this machine would share it"):
        own_device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(RecipeError, match="process 2 of this machine has no GPU: it has 2"):
        own_device("auto")


def test_norms_that_cannot_be_shared_are_refused() -> None:
    from torch import nn

    from kinegraph.training.distributed import World, prepare

    for norm in (nn.BatchNorm2d(3, affine=False), nn.BatchNorm1d(3, momentum=None),
                 nn.SyncBatchNorm(3)):  # fmt: skip
        with pytest.raises(RecipeError, match=f"'0' is a {type(norm).__name__} whose statistics"):
            prepare(nn.Sequential(norm), World(0, 2))


@pytest.mark.parametrize("switch", ["compile", "cuda_graphs"])
def test_what_works_in_one_process_only_is_refused(
    switch: str, tiny_recipe: Callable[..., dict[str, Any]]
) -> None:
    import torch

    from kinegraph.training.execution import resolve_execution

    recipe = parse_recipe(tiny_recipe(training={switch: "on"}))
    with pytest.raises(RecipeError, match=rf"training\.{switch} on: does not work in 2 processes"):
        resolve_execution(recipe, torch.device("cpu"), None, processes=2)  # type: ignore[arg-type]


def test_a_process_ends_with_the_one_that_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from kinegraph.training import distributed

    said, killed = iter([b"x", b""]), []
    monkeypatch.setattr(os, "read", lambda descriptor, length: next(said))
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments))
    distributed._end_with_launcher()
    assert killed == [(os.getpid(), signal.SIGTERM)]
    assert next(said, None) is None
