"""``kinegraph convert``: weights of an original program become a checkpoint, and the way back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import tyro
from pydantic import BaseModel, ConfigDict, Field

from kinegraph.console import say
from kinegraph.errors import CheckpointError, OutputError, RecipeError
from kinegraph.files import refuse_existing

if TYPE_CHECKING:
    from kinegraph.compat.converted_recipe import Wishes
    from kinegraph.compat.converting import Conversion
    from kinegraph.compat.original_settings import Settings

CLASS_SETS = {
    "ntu60": ("ntu25", 60), "ntu120": ("ntu25", 120), "pku-mmd": ("ntu25", 51),
    "nw-ucla": ("ucla20", 10),
}  # fmt: skip


class Arguments(BaseModel):
    """Turn the weights of an original program into a checkpoint of kinegraph, or back.

    `kinegraph test`, `predict` and `ensemble` take the checkpoint; of encoders that learned without
    labels, `kinegraph probe` does. --reverse is the way back.

    Nothing in a file is executed. What a file carries and its test phase never uses is kept, so the
    way back gives the same file. Layout, classes, people and width are read off the weights, the
    rest off a config.yaml beside them, as far as they tell.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """A .pt or .pth file or a run folder of an original program; with --reverse, a checkpoint or
    run folder of kinegraph."""

    out: Path
    """File to write: .safetensors; with --reverse .pt or .pth."""

    system: str | None = None
    """stgcn, stgcn-two-stream, stgcn-v1, tcn, ctrgcn, ctrgcn-baseline, aagcn, tcagcn, infogcn,
    frhead, lst, aimclr, skeletonclr or crossclr; default: what the names in the file tell (aimclr
    where it may be skeletonclr). With --reverse it is checked against the checkpoint."""

    reverse: bool = False
    """Write the names and shapes of the original program."""

    layout: str | None = None
    """Layout of the joints, where it is not the one that the original program has."""

    classes: str | None = None
    """Names of the classes: ntu60, ntu120, pku-mmd, nw-ucla, a text file with one per line, or a
    store that has them; ntu60 also cuts a head that was made for 120. Encoders that learned without
    labels know none: kinegraph probe takes those of its store."""

    persons: Annotated[int | None, Field(ge=1, le=8)] = None
    """People of a clip, for ST-GCN, whose weights do not tell it; default: 2, on NW-UCLA 1."""

    stream: str | None = None
    """Stream that was trained on, which no weights tell; default: as config.yaml or the name of a
    published file says, or joint. Of CrosSCLR's classifiers, the one to take."""

    split: str | None = None
    """Split that was trained on; default: as config.yaml or the name of a published file says, or
    that of the tested store."""

    config: Path | None = None
    """config.yaml of the original run; default: the one beside the weights, if there is one."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print every name as JSON instead of a summary."""

    force: bool = False
    """Replace --out if it exists."""


def run(arguments: Arguments) -> int:
    """Read, convert, write and say what became of every name.

    Raises:
        KinegraphError: The file cannot be read or converted, or --out exists.
    """
    suffixes = (".pt", ".pth") if arguments.reverse else (".safetensors",)
    if arguments.out.suffix not in suffixes:
        expected = " or ".join(suffixes)
        raise OutputError(f"--out {arguments.out}: expected a name that ends in {expected}")
    refuse_existing(arguments.out, force=arguments.force)
    facts = _reverse(arguments) if arguments.reverse else _convert(arguments)
    if arguments.as_json:
        say(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
        return 0
    for line in _lines(facts):
        say(line)
    return 0


def _convert(arguments: Arguments) -> dict[str, Any]:
    from kinegraph.compat.converting import convert
    from kinegraph.compat.systems import find_system
    from kinegraph.compat.weight_files import epoch_of, find_weights, read_weights
    from kinegraph.training.checkpoint import save_checkpoint

    if arguments.system:
        find_system(arguments.system)  # a wrong name is told before a large file is read
    file = find_weights(arguments.checkpoint)
    config = _config(arguments, file)
    wishes, assumed = _wishes(arguments, config, file)
    wishes = replace(wishes, epoch=epoch_of(file) or 1)
    done = convert(arguments.system, read_weights(file), wishes)
    save_checkpoint(arguments.out, done.checkpoint)
    return _facts(done, file, config, assumed) | {"written": str(arguments.out)}


def _reverse(arguments: Arguments) -> dict[str, Any]:
    from kinegraph.compat.converting import RECORD, revert, systems_of
    from kinegraph.compat.systems import find_system
    from kinegraph.compat.weight_files import write_weights
    from kinegraph.training.checkpoint import load_checkpoint
    from kinegraph.training.run_folder import find_checkpoint

    _refuse_needless(arguments)
    if arguments.system:
        find_system(arguments.system)
    file = find_checkpoint(arguments.checkpoint)
    checkpoint = load_checkpoint(file)
    record = checkpoint.progress.get(RECORD) or {}
    known = (record.get("system"),) if record else systems_of(checkpoint)
    if arguments.system and arguments.system not in known:
        whose = "comes from weights" if record else "was trained here and has the network"
        raise CheckpointError(
            f"'{file}' {whose} of '{known[0]}', not of '{arguments.system}': leave out --system"
        )
    state = revert(checkpoint)
    write_weights(arguments.out, state, force=arguments.force)
    return {
        "file": str(file),
        "system": arguments.system or known[0],
        "used": list(state),
        "same": bool(record),
        "written": str(arguments.out),
    }


def _refuse_needless(arguments: Arguments) -> None:
    for name in ("layout", "classes", "persons", "stream", "split", "config"):
        if getattr(arguments, name) is not None:
            raise RecipeError(f"--{name} has no meaning with --reverse: the checkpoint tells it")


def _config(arguments: Arguments, file: Path) -> Path | None:
    from kinegraph.compat.original_settings import CONFIG

    beside = file.parent / CONFIG
    return arguments.config or (beside if beside.is_file() else None)


def _wishes(arguments: Arguments, config: Path | None, file: Path) -> tuple[Wishes, list[str]]:
    """Return what the options, the settings or the file's name say, and what had to be assumed."""
    from kinegraph.compat.converted_recipe import Wishes
    from kinegraph.compat.original_settings import read_settings, settings_in_name
    from kinegraph.transforms import check_stream

    told = read_settings(config) if config else settings_in_name(file.stem)
    stream = arguments.stream or _told_stream(told, arguments.system, config)
    parts = (
        (arguments.stream, f"stream {told.stream}", told.stream),
        (arguments.split, f"split {told.split}", told.split),
        (arguments.classes, f"classes of {told.classes}", told.classes),
    )
    named = [text for own, text, found in parts if found and own is None]
    assumed = [f"{', '.join(named)} (the file's name)"] if named and not config else []
    if not stream:
        assumed = ["stream joint (no weights tell it; say --stream if it is another)"]
    wishes = Wishes(
        layout=arguments.layout or told.layout,
        classes=_classes(arguments.classes or told.classes),
        persons=arguments.persons or told.persons,
        stream=check_stream(stream or "joint"),
        read=arguments.stream is None,
        split=arguments.split or told.split,
    )
    return wishes, assumed


def _told_stream(told: Settings, system: str | None, config: Path | None) -> str | None:
    from kinegraph.compat.original_settings import stream_told

    try:
        return stream_told(told, system or "")
    except RecipeError as error:
        lst = "; of LST, these are the joints: --system lst" if told.zero_k == 0 else ""
        raise RecipeError(
            f"'{config}': {error}; name the stream that was trained on with --stream{lst}"
        ) from error


def _classes(named: str | None) -> tuple[str, ...] | None:
    """Return the names of the classes that --classes stands for."""
    from kinegraph.compat.converted_recipe import class_names
    from kinegraph.data.store import open_store

    if named is None:
        return None
    if named in CLASS_SETS:
        return class_names(*CLASS_SETS[named])
    path = Path(named)
    if path.is_dir():
        return tuple(open_store(path).class_names)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        sets = ", ".join(CLASS_SETS)
        raise RecipeError(
            f"--classes {named}: {why}; expected {sets}, a file with one name per line or a store"
        ) from error
    names = tuple(line.strip() for line in lines)
    if not names or not all(names) or len(set(names)) < len(names):
        raise RecipeError(f"--classes {named}: expected a different name in every line")
    return names


def _facts(done: Conversion, file: Path, config: Path | None, assumed: list[str]) -> dict[str, Any]:
    checkpoint = done.checkpoint
    return {
        "file": str(file),
        "config": str(config) if config else None,
        "system": checkpoint.progress["original"]["system"],
        "objective": checkpoint.recipe.objective.name,  # type: ignore[attr-defined]
        "layout": checkpoint.skeleton.name,
        "persons": checkpoint.persons,
        "classes": 0 if done.unlabelled else len(checkpoint.class_names),
        "stream": checkpoint.recipe.stream,
        "streams": list(done.streams) or [checkpoint.recipe.stream],
        "split": checkpoint.recipe.data.split,
        "assumed": [] if done.streams else assumed,
        "remarks": list(done.remarks),
        "used": list(done.used),
        "left_over": list(done.carried),
        "missing": list(done.missing),
        "rows_cut": done.cut,
        "not_finite": list(done.not_finite),
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    """Word the summary."""
    lines = [f"{facts['file']}: weights of {facts['system'] or 'an original program'}"]
    if "layout" in facts:
        people = "1 person" if facts["persons"] == 1 else f"{facts['persons']} people"
        split = f", split {facts['split']}" if facts["split"] else ""
        classes = f"{facts['classes']} classes" if facts["classes"] else "no classes learned"
        streams = ", ".join(facts["streams"])
        lines.append(f"layout {facts['layout']}, {people}, {classes}, stream {streams}{split}")
        lines += [f"settings: {facts['config']}"] if facts["config"] else []
        lines += [f"assumed: {text}" for text in facts["assumed"]]
        lines += facts["remarks"]
    lines.append(f"used: {len(facts['used'])} tensors")
    for key, meaning in (
        ("missing", "missing, begun anew"),
        ("left_over", "left over, kept but never computed with"),
        ("not_finite", "NaN or infinite, so that no result can be trusted"),
    ):
        if facts.get(key):
            lines.append(f"{meaning}: {len(facts[key])} ({_some(facts[key])})")
    if facts.get("rows_cut"):
        lines.append(f"head: {facts['rows_cut']} rows without a class are kept apart")
    if "same" in facts and not facts["same"]:
        lines.append("trained here: what the original program saves but never uses is not in it")
    return [*lines, f"written: {facts['written']}"]


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
