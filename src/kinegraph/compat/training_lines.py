"""Training commands of the original programs as `kinegraph train`.

Place in the flow: ``translate`` hands over a line that trains and gets a translation.
"""

from __future__ import annotations

import re

from kinegraph.compat.command_words import Line
from kinegraph.compat.conversion_lines import STORE, converted
from kinegraph.compat.line_options import (
    departures,
    file_options,
    place,
    plain_options,
    train_words,
)
from kinegraph.compat.original_flags import (
    DEFAULTS,
    KEYS,
    MODELS,
    OWN_KEYS,
    PROGRAMS,
    RECIPES,
    Data,
)
from kinegraph.compat.original_lines import UNKNOWN, data_of, stream_in, weights_in
from kinegraph.compat.original_settings import Settings
from kinegraph.errors import RecipeError, unknown

STREAM_FLAGS = {"k", "modal_idx", "use_vel"}
DEFAULT_MODELS = {"infogcn": "infogcn", "stgcn": "stgcn"}  # of other programs it is CTR-GCN
CLEANING = {"infogcn": " --cleaning aligned", "stgcn": " --cleaning stgcn"}  # of NTU's bodies


def training_commands(
    line: Line, program: str, settings: Settings
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Return the words of our commands, and notes.

    What the line says stands in the command; what follows from its settings file or from the
    program's defaults does where the recipe has something else.

    Raises:
        RecipeError: The line does not tell its recordings, or makes no sense.
    """
    data = data_of(line, settings)
    if data is not None and program == UNKNOWN:
        raise RecipeError(
            f"the command does not tell whose it is: --program is one of {', '.join(PROGRAMS[:-1])}"
        )
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
    keys = KEYS | OWN_KEYS.get(program, {})
    said: dict[str, str] = {}
    _model(_asked(line, settings, "model"), program, said)
    notes += _contrast(_asked(line, settings, "cl_mode", "start_cl_epoch"), program, implied, said)
    names = {key: text for key, text in (implied | said).items() if key.endswith(".name")}
    plain = names.get("objective.name") == "classify"  # which has no options of the contrast
    if plain:
        spare = (flag for flag, key in keys.items() if key.startswith("objective."))
        notes += [f"--{flag}: without the contrast it means nothing" for flag in spare
                  if flag in line.flags]  # fmt: skip
        keys = {flag: key for flag, key in keys.items() if not key.startswith("objective.")}
    found, left = file_options(line, settings, keys, recipe, names)
    notes += [*left, *plain_options(line, keys, said)]
    for key, flags in (("stream", STREAM_FLAGS), ("data.split", {"datacase"})):
        if key in implied and flags & line.flags.keys():
            said[key] = implied[key]
    others = {key: text for key, text in (implied | found).items() if key not in names}
    values = departures(recipe, names) | departures(recipe, others, names) | said
    words = train_words(line, recipe, values, keys)
    before: tuple[tuple[str, ...], ...] = ()
    if weights := weights_in(line, settings):
        before, ours = converted(line, program, weights, data=data, stream=implied["stream"])
        words += ["--start.run", ours]
        notes.append("--weights: the encoder is taken over, the head begins anew")
    return (*before, (*words, *place(line))), (_import_note(data, program), *notes)


def _asked(line: Line, settings: Settings, *flags: str) -> Line:
    """Return a line with what the settings file says of some options, where it leaves them out."""
    found = {flag: (text,) for flag in flags if (text := str(settings.values.get(flag) or ""))}
    return Line(line.script, line.words, found | line.flags, line.environment)


def _model(line: Line, program: str, said: dict[str, str]) -> None:
    model = line.one("model")
    if not model:
        return
    name = model.removeprefix("model.").removeprefix("net.")
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
        epoch = line.one("start_cl_epoch")
        if not re.fullmatch(r"-?\d{1,9}", epoch):
            raise RecipeError(f"--start_cl_epoch {epoch}: expected a whole number")
        said["objective.start_epoch"] = str(int(epoch) + 1)
    return [] if mode else ["without --cl-mode there is no contrast: plain classification"]


def _import_note(data: Data, program: str) -> str:
    cleaning = CLEANING.get(program, "") if data.group == "ntu" else ""
    words = f"kinegraph data import {data.name} SOURCE{cleaning} --out {STORE}"
    return f"{STORE} is made by: {words}"
