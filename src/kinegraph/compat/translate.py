"""Command lines of the original programs in our words.

Place in the flow: ``kinegraph translate`` hands over a line and prints what comes back. The tables
are in ``original_flags``. Nothing is run, and no file is read but a ``config.yaml`` that the line
names.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from kinegraph.compat.command_words import Line, read_line
from kinegraph.compat.contrast_lines import contrast_commands
from kinegraph.compat.conversion_lines import (
    NOT_CONVERTED,
    STORE,
    converted,
    test_words,
    tested_weights,
)
from kinegraph.compat.original_flags import PROGRAMS, Data
from kinegraph.compat.original_lines import (
    check_options,
    data_of,
    program_of,
    settings_of,
    stream_in,
    tests,
)
from kinegraph.compat.original_settings import Settings
from kinegraph.compat.training_lines import training_commands
from kinegraph.errors import RecipeError, nearest, unknown

RAW_SCRIPTS = ("get_raw_skes_data", "get_raw_denoised_data", "seq_transformation")
FOUR_STREAMS = ("joint", "bone", "joint-motion", "bone-motion")


@dataclass(frozen=True)
class Translation:
    """What to type here.

    Attributes:
        commands: Our command lines, word by word, in the order to type them.
        notes: What the user should know.
        environment: ``NAME=value`` words that stand in front of each.
    """

    commands: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the command lines as they are typed."""
        pairs = (word.partition("=") for word in self.environment)
        before = [f"{name}={shlex.quote(value) if value else ''}" for name, _, value in pairs]
        return [" ".join((*before, *map(shlex.quote, words))) for words in self.commands]


def translate(text: str, program: str | None = None) -> Translation:
    """Translate a command line of an original program.

    Args:
        text: The line; ``<...>`` stands for a path of the user's.
        program: Whose it is, one of `original_flags.PROGRAMS`, where the line does not tell.

    Raises:
        RecipeError: It is no such line, has options that its program has not, or asks for what
            makes no sense.
    """
    if program is not None and program not in PROGRAMS:
        raise RecipeError(unknown("program", program, PROGRAMS))
    line = read_line(text)
    if line.script in RAW_SCRIPTS:
        _check_preparation(line, ())
        return _recordings(line)
    if line.script == "ntu_gendata":
        _check_preparation(line, ("data_path",))
        return _gendata(line)
    if line.script == "get_reference_models":
        return _reference_models()
    settings = settings_of(line)
    program = program or program_of(line, settings)
    scripts = ("main", "ensemble")
    others = "ensemble_" if program == "aimclr" else "main_multipart"
    if line.script not in scripts and not line.script.startswith(others):
        known = ("main", "ensemble", "main_multipart_ntu", "main_multipart_ucla", *RAW_SCRIPTS)
        raise RecipeError(f"'{line.script}' is no script of theirs{nearest(line.script, known)}")
    if program == "aimclr":
        return Translation(*contrast_commands(line, settings), line.environment)
    if "help" in line.flags:
        return Translation((("kinegraph", "train", "--help"),))
    check_options(line, program)
    if line.script == "ensemble":
        return _ensemble(line, program)
    if tests(line, settings):
        return _test(line, program, settings)
    return Translation(*training_commands(line, program, settings), line.environment)


def _test(line: Line, program: str, settings: Settings) -> Translation:
    weights = tested_weights(line, settings)
    data = data_of(line, settings)
    stream, notes = stream_in(line, program, data, settings) if data is not None else ("", [])
    before, ours = converted(line, program, weights, data=data, stream=stream)
    notes += [NOT_CONVERTED] if before else []
    return Translation((*before, test_words(line, ours)), tuple(notes), line.environment)


def _ensemble(line: Line, program: str) -> Translation:
    data = data_of(line, Settings())
    position, motion = line.flags.get("position_ckpts", ()), line.flags.get("motion_ckpts", ())
    found = {
        stream: line.one(f"{stream.replace('-', '_')}_dir")
        for stream in FOUR_STREAMS
        if f"{stream.replace('-', '_')}_dir" in line.flags
    }
    members = (*position, *motion, *found.values())
    if not members:
        raise RecipeError(
            "the command names no scores: --joint-dir and the like, or --position_ckpts"
        )
    streams = (*("joint" for _ in position), *("motion" for _ in motion), *found)
    words = ["kinegraph", "ensemble", *members, "--streams", *streams]
    notes = ["run folders and score files of theirs and of kinegraph are read alike"]
    if position or motion:
        words += ["--preset", "infogcn"]
    elif len(found) == len(FOUR_STREAMS):
        words += ["--preset", f"{program}:{_benchmark(data)}" if data else program]
    else:
        weights = {"bone": line.one("alpha", "1")}
        words += ["--weights", *(weights.get(stream, "1") for stream in found)]
        if "alpha" in line.flags and not _is_number(line.one("alpha")):
            raise RecipeError(f"--alpha {line.one('alpha')}: expected a number")
    if data is not None and data.group == "ntu":
        words += ["--order", _benchmark(data), "--data.store", STORE]
    elif data is not None:
        notes.append("their files number the clips of NW-UCLA: give --order FILE with the names")
    return Translation((tuple(words),), tuple(notes), line.environment)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\d+\.?\d*|\.\d+", text) is not None


def _benchmark(data: Data) -> str:
    return data.name if data.group == "ucla" else f"{data.name}-{data.split}"


def _check_preparation(line: Line, known: tuple[str, ...]) -> None:
    strange = [f"--{flag}" for flag in line.flags if flag not in known]
    if strange:
        raise RecipeError(f"{', '.join(strange)}: no option of {line.script} that is known here")
    for flag in line.flags:
        if not line.one(flag):
            raise RecipeError(f"--{flag} needs a value")


def _recordings(line: Line) -> Translation:
    words = ("kinegraph", "data", "import", "ntu60", "NTU_FOLDER", "--cleaning", "denoised")
    return Translation(
        ((*words, "--out", STORE),),
        (
            f"{', '.join(f'{script}.py' for script in RAW_SCRIPTS)} are this one command; ntu120"
            " for NTU RGB+D 120",
            "InfoGCN's last step also turns the bodies: --cleaning aligned",
        ),
        line.environment,
    )


def _gendata(line: Line) -> Translation:
    source = line.one("data_path") or "NTU_FOLDER"
    words = ("kinegraph", "data", "import", "ntu60", source, "--cleaning", "stgcn", "--out", STORE)
    return Translation((words,), ("both splits, xsub and xview, are in the one store",))


def _reference_models() -> Translation:
    words = ("kinegraph", "convert", "st_gcn.ntu-xsub.pt", "--system", "stgcn", "--out")
    return Translation(
        ((*words, "st_gcn.ntu-xsub.safetensors"),),
        (
            "nothing is downloaded: the weights are no longer where the script looks for them; this"
            " converts a file that you have",
        ),
    )
