"""Training commands of the original programs as `kinegraph train`.

Place in the flow: ``translate`` hands over a line that trains and gets a translation.
"""

from __future__ import annotations

from collections.abc import Mapping

from kinegraph.compat.conversion_lines import STORE, conversion, converted_file
from kinegraph.compat.original_flags import (
    DEFAULTS,
    KEYS,
    LISTS,
    MODELS,
    NEEDLESS,
    OWN_KEYS,
    RECIPES,
    Data,
)
from kinegraph.compat.original_lines import Line, data_of, settings_of, stream_in
from kinegraph.errors import RecipeError, unknown
from kinegraph.recipe import load_recipe

STREAM_FLAGS = {"k", "modal_idx", "use_vel"}
DEFAULT_MODELS = {"infogcn": "infogcn"}  # of other programs it is CTR-GCN
CLEANING = {"infogcn": " --cleaning aligned", "stgcn": " --cleaning stgcn"}  # of NTU's bodies


def training_commands(
    line: Line, program: str
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Return the words of our commands, and notes.

    What the line says stands in the command; what follows from its settings file or from the
    program's defaults does where the recipe has something else.

    Raises:
        RecipeError: The line does not tell its recordings, or makes no sense.
    """
    settings = settings_of(line)
    data = data_of(line, settings)
    if data is None or (program, data.group) not in RECIPES:
        raise RecipeError(
            "the command does not tell which recordings it trains on: name a settings file such as"
            " config/nturgbd-cross-subject/default.yaml, or --dataset"
        )
    recipe = RECIPES[program, data.group]
    implied = dict(DEFAULTS.get(program, {}))
    implied["stream"], notes = stream_in(line, program, data, settings)
    if data.split:  # Kinetics is divided by the parts that it comes in
        implied["data.split"] = data.split
    said: dict[str, str] = {}
    _model(line, program, said)
    notes += _contrast(line, program, implied, said)
    notes += plain_options(line, program, said)
    for key, flags in (("stream", STREAM_FLAGS), ("data.split", {"datacase"})):
        if key in implied and flags & line.flags.keys():
            said[key] = implied[key]
    if implied.get("objective.name") == "classify":  # which has no options of the contrast
        said = {key: text for key, text in said.items() if not key.startswith("objective.")}
    values = departures(recipe, implied) | said
    words = ["kinegraph", "train", recipe, "--data.store", STORE]
    # A component is named first; its values follow.
    for key in sorted(values, key=lambda key: not key.endswith(".name")):
        words += [f"--{key}", values[key]]
    before: tuple[tuple[str, ...], ...] = ()
    if weights := line.one("weights"):
        if not weights.endswith(".safetensors"):
            before = (conversion(line, program, weights, data=data, stream=implied["stream"]),)
        words += ["--start.run", converted_file(weights)]
        notes.append("--weights: the encoder is taken over, the head begins anew")
    return (*before, (*words, *place(line))), (_import_note(data, program), *notes)


def departures(recipe: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return the values that the recipe does not have already."""
    own = load_recipe(recipe)
    return {key: text for key, text in values.items() if load_recipe(recipe, [(key, text)]) != own}


def _model(line: Line, program: str, said: dict[str, str]) -> None:
    model = line.one("model")
    if not model:
        return
    name = model.removeprefix("model.")
    if name not in MODELS:
        raise RecipeError(unknown("--model", model, (f"model.{known}" for known in MODELS)))
    if MODELS[name] != DEFAULT_MODELS.get(program, "ctrgcn"):
        said["backbone.name"] = MODELS[name]
    if program == "lst" and "_bone" in name:
        said["objective.original_parts"] = "bones"


def _contrast(line: Line, program: str, implied: dict[str, str], said: dict[str, str]) -> list[str]:
    """Translate what switches FR-Head's contrast on, and its settings file's epochs."""
    if program != "frhead":
        return []
    mode = line.one("cl_mode")
    if mode not in ("", "ST-Multi-Level", "None"):
        raise RecipeError(f"--cl-mode {mode}: the only one is ST-Multi-Level")
    if "rand_scale" in line.one("config"):
        implied["training.epochs"] = "65"
    if mode != "ST-Multi-Level":
        implied["objective.name"] = "classify"
    elif "start_cl_epoch" in line.flags:  # theirs is the last epoch without
        said["objective.start_epoch"] = str(int(line.one("start_cl_epoch")) + 1)
    return [] if mode else ["without --cl-mode there is no contrast: plain classification"]


def plain_options(line: Line, program: str, said: dict[str, str]) -> list[str]:
    """Translate options that keep their value; return why others are left out."""
    keys = KEYS | OWN_KEYS.get(program, {})
    notes = []
    for flag, found in line.flags.items():
        if flag in keys:
            key = keys[flag]
            text = f"[{', '.join(found)}]" if key in LISTS else " ".join(found)
            said[key] = text.lower() if key in ("optim.name",) or text in _TRUTHS else text
        elif flag in NEEDLESS:
            notes.append(f"--{flag}: {NEEDLESS[flag]}")
    if "half" in line.flags:
        if line.true("half"):
            notes.append("--half: arithmetic is chosen by the device (training.precision auto)")
        else:
            said["training.precision"] = "fp32"
    return notes


_TRUTHS = ("True", "False")


def place(line: Line, ending: str = "") -> list[str]:
    """Return where results go, a folder whose name ends so, and on which devices."""
    words = []
    if "work_dir" in line.flags:
        folder = line.one("work_dir")
        words += ["--out", folder.rstrip("/") + ending if ending else folder]
    if "device" in line.flags:
        words += ["--device", *line.flags["device"]]
    return words


def _import_note(data: Data, program: str) -> str:
    cleaning = CLEANING.get(program, "") if data.group == "ntu" else ""
    words = f"kinegraph data import {data.name} SOURCE{cleaning} --out {STORE}"
    return f"{STORE} is made by: {words}"
