"""Steps taken as written, recorded and replayed, or compiled, all end with the same weights."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kinegraph.backbones import BACKBONES
from kinegraph.batch import Batch
from kinegraph.data.store import open_store
from kinegraph.errors import TrainingError
from kinegraph.nn.persons import Rows, fold, plan_rows, rows_of
from kinegraph.objectives import OBJECTIVES
from kinegraph.objectives.base import Objective
from kinegraph.recipe import Recipe, parse_recipe
from kinegraph.registry import Component, Config
from kinegraph.skeleton import load_layout
from kinegraph.training import compiling, graphs, state
from kinegraph.training.checkpoint import load_checkpoint, make_objective
from kinegraph.training.compiling import CompileReport
from kinegraph.training.execution import Execution
from kinegraph.training.guards import FiniteGuard
from kinegraph.training.loop import Training
from kinegraph.training.optim import build_optimizer, set_learning_rate
from kinegraph.training.run import resume, start
from kinegraph.training.run_folder import RunFolder
from kinegraph.training.state import RunState
from kinegraph.training.step import Stepper
from kinegraph.training.structure import shape_of, tensors_of, with_tensors

CPU = torch.device("cpu")
JOINTS, CLASSES = 5, 3


class Small(Objective):
    """A convolution, a batch norm and a head, with something of its own after every step."""

    def __init__(self, channels: int = 3, classes: int = CLASSES) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, classes)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("shown", torch.zeros(100), persistent=False)

    def forward(self, *batches: Batch) -> dict[str, Tensor]:
        (batch,) = batches
        logits = self.logits(batch.x, batch.people)
        loss = nn.functional.cross_entropy(logits.float(), batch.label)
        return {"loss": loss, "accuracy": (logits.argmax(1) == batch.label).float().mean()}

    def logits(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        scores: Tensor = self.head(torch.relu(self.norm(self.conv(x[..., 0]))).mean((2, 3)))
        return scores

    def after_step(self) -> None:
        self.steps += 1
        self.shown.add_(self.steps)


class People(Small):
    """Sees every person on its own, as backbones do."""

    def logits(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        rows = rows_of(x, present)
        y = torch.relu(self.norm(self.conv(fold(x, rows))))  # (R, 8, T, V)
        scores: Tensor = self.head(rows.pool(y.mean((2, 3))))
        return scores


class Waiting(Small):
    """Waits for the device, which cannot be recorded."""

    def after_step(self) -> None:
        self.steps += int(self.steps) + 1


class Tape:
    """Records as CUDA does, on the CPU: kernels in their order, on the memory that they used.

    Plain numbers are frozen as they were, results are written where they first were, and nothing
    of Python runs in a replay. What recording itself has done is undone.
    """

    def __init__(self, kept: Callable[[], list[Tensor]]) -> None:
        self.kept, self.recorded, self.ran = kept, 0, 0

    def run(self, work: graphs.Work) -> Tensor:
        self.ran += 1
        return work()

    def record(self, work: graphs.Work) -> tuple[Callable[[], None], Tensor]:
        self.recorded += 1
        before = [(tensor, tensor.detach().clone()) for tensor in self.kept()]
        calls = Calls()
        try:
            with calls:
                result = work()
        except Calls.WaitedFor as error:
            raise graphs.RecordingError(str(error)) from error
        finally:
            with torch.no_grad():
                for tensor, value in before:
                    tensor.copy_(value)
        result.fill_(float("nan"))  # until the first replay
        return calls.replay, result


class Calls(TorchDispatchMode):
    class WaitedFor(RuntimeError):
        pass

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise Calls.WaitedFor("a number was read")
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, result))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, result in self.calls:
            mine = {storage(tensor) for tensor in tree_leaves((args, kwargs))}
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and storage(old) not in mine:
                    old.copy_(new)


def storage(value: Any) -> int | None:
    return value.untyped_storage().data_ptr() if isinstance(value, Tensor) else None


def batch_of(clips: int, number: int, frames: int = 6) -> Batch:
    draws = torch.Generator().manual_seed(number)
    return Batch(
        x=torch.randn(clips, 3, frames, JOINTS, 1, generator=draws),
        label=torch.randint(0, CLASSES, (clips,), generator=draws),
        index=torch.randint(0, 12, (clips,), generator=draws),
        present=torch.ones(clips, 1, dtype=torch.bool),
    )


def crowd_of(number: int, pairs: int) -> Batch:
    """Return four clips of two slots, ``pairs`` of them with two people."""
    single = batch_of(4, number)
    present = torch.arange(4)[:, None] < torch.tensor([4, pairs])  # (N, M)
    x = torch.cat((single.x, single.x.flip(0)), dim=4) * present[:, None, None, None, :]
    return replace(single, x=x, present=present, rows=plan_rows(present.numpy()))


@dataclass
class Run:
    stepper: Stepper
    told: list[str]
    tape: Tape | None = None

    def take(self, sizes: list[int], accumulate: int = 1) -> list[dict[str, float]]:
        """Take a step for each size; the learning rate changes on the way."""
        results = []
        for number, clips in enumerate(sizes):
            set_learning_rate(self.stepper.state.optimizer, 0.1 / (1 + number))
            group = [(batch_of(clips, 10 * number + k),) for k in range(accumulate)]
            parts = self.stepper.step(group)
            results.append({name: float(value) for name, value in parts.items()})
        return results

    def weights(self) -> dict[str, Tensor]:
        tensors = self.stepper.state.tensors()
        return tensors | dict(self.stepper.state.objective.named_buffers())


@pytest.fixture
def make_run(make_store: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    store = open_store(make_store())
    # As on a CUDA device: one operation for all weights, the learning rate in a tensor.
    monkeypatch.setattr(state, "build_optimizer", partial(build_optimizer, fused=True))

    def make(
        execution: Execution,
        sections: dict[str, Any] | None = None,
        objective: type[Objective] = Small,
        interval: int = 1,
    ) -> Run:
        torch.manual_seed(1)
        recipe: Recipe = parse_recipe({"training": {"batch_size": 4}} | (sections or {}))
        kept = RunState(recipe, objective().train(), CPU)

        def everything() -> list[Tensor]:
            network, average = kept.objective, kept.average
            slots = [v for s in kept.optimizer.state.values() for v in s.values()]
            own = [] if average is None else [*average.state.values(), average.steps]
            return [*network.parameters(), *network.buffers(), *slots, *own]

        run = Run(None, [], Tape(everything))  # type: ignore[arg-type]
        run.stepper = Stepper(
            recipe, kept, FiniteGuard(store, interval), CPU, execution,
            tell=run.told.append, recorder=run.tape,
        )  # fmt: skip
        return run

    return make


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    assert left.keys() == right.keys()
    return all(torch.equal(value, right[name]) for name, value in left.items())


RECORDED = Execution(cuda_graphs=True)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(
    "sections",
    [
        {"optim": {"weight_decay": 0.01}},
        {"optim": {"name": "adamw", "clip_norm": 0.1}},
        {"optim": {"momentum": 0}, "training": {"ema": 0.9, "batch_size": 4}},
    ],
)
def test_replayed_steps_equal_plain_ones(
    make_run: Callable[..., Run], sections: dict[str, Any], accumulate: int
) -> None:
    sizes = [4, 4, 2, 4, 4, 2, 4, 4, 4]
    plain, recorded = make_run(Execution(), sections), make_run(RECORDED, sections)
    assert plain.take(sizes, accumulate) == recorded.take(sizes, accumulate)
    assert same(plain.weights(), recorded.weights())
    assert recorded.tape is not None
    # Three plain steps of four clips, then replays; two clips never come often enough.
    assert (recorded.tape.recorded, recorded.tape.ran) == (1, 5)
    assert not recorded.told


def test_every_shape_has_a_graph_of_its_own(
    make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "MOST_GRAPHS", 2)
    sizes = [4, 2, 3] * 6
    plain, recorded = make_run(Execution()), make_run(RECORDED)
    assert plain.take(sizes) == recorded.take(sizes)
    assert same(plain.weights(), recorded.weights())
    assert recorded.stepper.graphs is not None
    assert recorded.stepper.graphs.recorded == 2
    assert recorded.tape is not None
    assert recorded.tape.ran == 3 + 3 + 6  # the third shape has no graph


def test_results_are_the_callers_own(make_run: Callable[..., Run]) -> None:
    run = make_run(RECORDED)
    run.take([4] * 4)
    first = run.stepper.step([(batch_of(4, 1),)])
    before = float(first["loss"])
    run.stepper.step([(batch_of(4, 2),)])
    assert float(first["loss"]) == before


def test_batches_are_left_as_they_are(make_run: Callable[..., Run]) -> None:
    run = make_run(RECORDED)
    batches = [batch_of(4, number) for number in range(6)]
    for batch in batches:
        run.stepper.step([(batch,)])
    assert all(torch.equal(b.x, batch_of(4, number).x) for number, b in enumerate(batches))


@pytest.mark.parametrize("interval", [1, 4])
def test_a_nan_in_a_replay_names_the_clips(make_run: Callable[..., Run], interval: int) -> None:
    run = make_run(RECORDED, interval=interval)
    run.take([4] * 6, accumulate=2)
    broken = batch_of(4, 7)
    broken.x[1, 0, 2, 3, 0] = float("nan")
    names = ", ".join(f"clip {row}" for row in broken.index.tolist())
    words = f"the loss became nan in the batch of the clips {names};"
    groups = [[(batch_of(4, 8),), (broken,)], [(batch_of(4, 9),), (batch_of(4, 10),)]]
    with pytest.raises(TrainingError, match=words):
        deque((run.stepper.step(group) for group in groups), maxlen=0)


def test_what_cannot_be_recorded_is_taken_as_usual(make_run: Callable[..., Run]) -> None:
    plain, recorded = (
        make_run(Execution(), objective=Waiting),
        make_run(RECORDED, objective=Waiting),
    )
    assert plain.take([4] * 6) == recorded.take([4] * 6)
    assert same(plain.weights(), recorded.weights())
    assert recorded.told == [
        "going on without training.cuda_graphs: a step cannot be recorded (a number was read)"
    ]
    asked = make_run(replace(RECORDED, insist=frozenset({"cuda_graphs"})), objective=Waiting)
    with pytest.raises(TrainingError, match=r"training.cuda_graphs on: .*\(a number was read\)"):
        asked.take([4] * 6)


def test_batches_elsewhere_are_not_recorded(make_run: Callable[..., Run]) -> None:
    run = make_run(RECORDED)
    batch = replace(batch_of(4, 1), present=torch.ones(4, 1, device="meta"))
    run.stepper.step([(batch,)])
    assert "a tensor of the batch is on 'meta'" in run.told[0]


@dataclass(frozen=True)
class Nested:
    number: int
    inner: Batch
    nothing: Tensor | None = None


def test_structure_is_everything_but_the_numbers() -> None:
    value = [(Nested(3, batch_of(2, 1)),), (Nested(4, batch_of(2, 2)),)]
    other = [(Nested(3, batch_of(2, 3)),), (Nested(4, batch_of(2, 4)),)]
    assert len(list(tensors_of(value))) == 8
    assert shape_of(value) == shape_of(other)
    hash(shape_of(value))
    taken = with_tensors(value, iter(list(tensors_of(other))))
    assert taken[1][0].inner.x is other[1][0].inner.x
    assert taken[0][0].number == 3
    x = batch_of(2, 1).x
    for changed in (
        x[:1], x.double(), x.transpose(0, 1).contiguous().transpose(0, 1), x.to("meta")
    ):  # fmt: skip
        assert shape_of(Nested(3, replace(batch_of(2, 1), x=changed))) != shape_of(value[0][0])
    assert shape_of(Nested(5, batch_of(2, 1))) != shape_of(value[0][0])
    with pytest.raises(TypeError, match="a dict in a batch"):
        shape_of(Nested({}, batch_of(2, 1)))  # type: ignore[arg-type]


class Compiler:
    """Stands in for torch.compile: notes what is compiled, computes the same."""

    def __init__(self) -> None:
        self.shapes: list[Any] = []
        self.calls = 0
        self.anew = 0
        self.fails = False

    def __call__(self, objective: Objective, *, dynamic: bool) -> Callable[..., Any]:
        assert not dynamic

        def compiled(*batches: Batch) -> dict[str, Tensor]:
            self.calls += 1
            counters["inductor"]["fxgraph_cache_miss"] += self.calls == self.anew
            if shape_of(batches) not in self.shapes:
                if self.fails:
                    raise RuntimeError("no such compiler\nand much more")
                self.shapes.append(shape_of(batches))
            parts: dict[str, Tensor] = objective(*batches)
            return parts

        return compiled


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Compiler]:
    stand_in = Compiler()
    monkeypatch.setattr(torch, "compile", stand_in)
    return stand_in  # type: ignore[return-value]


class DrawingConfig(Config):
    name: Literal["drawing"] = "drawing"


class Drawing(Small):
    """Draws random numbers in its forward pass."""

    def logits(self, x: Tensor, present: Tensor | Rows | None = None) -> Tensor:
        return super().logits(nn.functional.dropout(x, 0.5))


def test_compiling_leaves_no_trace(make_run: Callable[..., Run], compiler: Compiler) -> None:
    sizes = [4, 4, 2, 4]
    plain = make_run(Execution(), objective=Drawing)
    expected, weights = plain.take(sizes), plain.weights()
    compiled = make_run(Execution(compile=True), objective=Drawing)
    assert compiled.take(sizes) == expected
    assert same(compiled.weights(), weights)
    assert len(compiler.shapes) == 1  # the smaller batch is not worth it
    assert compiler.calls == 1 + 3
    assert len(compiled.told) == 2
    assert compiled.told[0].startswith("compiling the forward pass")
    assert compiled.told[1].startswith("compiled in")


def test_code_that_is_made_anew_is_told(make_run: Callable[..., Run], compiler: Compiler) -> None:
    compiler.anew = 3  # the second step
    run = make_run(Execution(compile=True))
    run.take([4, 4, 4])
    assert len(run.told) == 3
    assert run.told[2].endswith("not in the cache, for another number of people")


def test_no_more_kinds_are_compiled_than_are_worth_it(
    make_run: Callable[..., Run], compiler: Compiler
) -> None:
    run = make_run(Execution(compile=True))
    for frames in range(3, 12):
        run.stepper.step([(batch_of(4, frames, frames),)])
    assert len(compiler.shapes) == compiling.MOST_KINDS


def test_what_cannot_be_compiled_is_taken_as_usual(
    make_run: Callable[..., Run], compiler: Compiler
) -> None:
    compiler.fails = True
    plain, compiled = make_run(Execution()), make_run(Execution(compile=True))
    assert plain.take([4, 4]) == compiled.take([4, 4])
    assert same(plain.weights(), compiled.weights())
    assert compiled.told[1:] == [
        "going on without training.compile: the network cannot be compiled (no such compiler)"
    ]
    asked = make_run(Execution(compile=True, insist=frozenset({"compile"})))
    with pytest.raises(TrainingError, match=r"training.compile on: .*\(no such compiler\)"):
        asked.take([4])


@pytest.mark.parametrize(
    ("cached", "made", "breaks", "words"),
    [
        (4, 0, 0, "compiled in 14.2 s, cache hit"),
        (0, 4, 0, "compiled in 14.2 s, not in the cache"),
        (1, 3, 2, "compiled in 14.2 s, 1 of 4 parts in the cache, 2 graph breaks"),
    ],
)
def test_what_a_compilation_cost_is_told(cached: int, made: int, breaks: int, words: str) -> None:
    assert CompileReport(14.2, cached, made, breaks).describe() == words


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # it warns of its own parts
def test_torch_compiles_a_run_once_and_remembers(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    sizes = [4, 4, 2, 4, 4]
    plain = make_run(Execution())
    expected = plain.take(sizes)
    told = []
    for _ in range(2):
        torch._dynamo.reset()
        counters.clear()
        run = make_run(Execution(compile=True))
        found = run.take(sizes)
        objective = run.stepper.state.objective
        objective.eval().logits(batch_of(4, 1).x)  # an evaluation on the way
        objective.train()
        found_later = run.take([4])
        assert counters["stats"]["unique_graphs"] == 1
        assert not counters["graph_break"]
        told += run.told
        for left, right in zip(found, expected, strict=True):
            assert left == pytest.approx(right, rel=1e-4)
        assert found_later
    torch._dynamo.reset()
    assert "not in the cache" in told[1]
    assert "cache hit" in told[3]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_torch_compiles_once_for_any_number_of_people(
    make_run: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    counters.clear()
    plain = make_run(Execution(), objective=People)
    compiled = make_run(Execution(compile=True), objective=People)
    for number, pairs in enumerate((1, 3, 2, 1, 3)):
        expected = plain.stepper.step([(crowd_of(number, pairs),)])
        found = compiled.stepper.step([(crowd_of(number, pairs),)])
        assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-4)
    assert counters["stats"]["unique_graphs"] == 1
    assert [line.split()[0] for line in compiled.told] == ["compiling", "compiled"]
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("name", BACKBONES)
def test_networks_are_traced_once_in_one_piece(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    counters.clear()
    # Tracing finds what torch.compile cannot take; making code of it would take minutes.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    recipe = parse_recipe({"backbone": {"name": name, "width": 8}})
    objective = make_objective(recipe, load_layout("coco17"), CLASSES, persons=2).train()
    forward = compiling.CompiledForward(objective, 4)
    for number, pairs in enumerate((1, 3, 2)):
        small = crowd_of(number, pairs)
        batch = replace(small, x=torch.randn(4, 3, 8, 17, 2))
        if forward.lacks((batch,)):
            forward.compile((batch,), lambda batch=batch: forward(batch)["loss"].backward())  # type: ignore[misc]
        forward(batch)["loss"].backward()
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_a_compiled_run_goes_on_with_the_same_bits(
    tmp_path: Path,
    make_store: Callable[..., Path],
    tiny_recipe: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setitem(
        OBJECTIVES, "drawing", Component("A test's.", DrawingConfig, lambda *_: Drawing(3, 2))
    )
    values = tiny_recipe(
        data={"store": str(make_store())},
        objective={"name": "drawing"},
        training={"epochs": 3, "batch_size": 4, "drop_last": False, "compile": "on"},
    )
    recipe = parse_recipe(values)
    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    start(recipe, whole, device="cpu")
    finish = Training._finish_epoch

    def stop_after_one(self: Training, row: dict[str, Any]) -> None:
        finish(self, row)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "_finish_epoch", stop_after_one)
        with pytest.raises(KeyboardInterrupt):
            start(recipe, cut, device="cpu")
    resume(cut, device="cpu")
    torch._dynamo.reset()
    ends = [load_checkpoint(run.last) for run in (whole, cut)]
    assert ends[0].epoch == ends[1].epoch == 3
    assert same(dict(ends[0].tensors), dict(ends[1].tensors))
    log = (cut.path / "log.txt").read_text()
    assert log.count("compiled in") == 2  # once for each process that trained
    assert "cache hit" in log
