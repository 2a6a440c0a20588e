"""Command lines of the original programs in our words.

Place in the flow: ``kinegraph translate`` hands over a line and prints what comes back. The tables
are in ``original_flags``. Nothing is run, and no file is read but a ``config.yaml`` that the line
names.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from kinegraph.compat.original_flags import PROGRAMS, Data
from kinegraph.compat.original_lines import (
    UNKNOWN,
    Line,
    data_of,
    program_of,
    refuse_unknown,
    settings_of,
    stream_in,
    take_apart,
)
from kinegraph.compat.original_settings import Settings
from kinegraph.compat.training_lines import STORE, training_words
from kinegraph.errors import RecipeError, nearest, unknown

RAW_SCRIPTS = ("get_raw_skes_data", "get_raw_denoised_data", "seq_transformation")
FOUR_STREAMS = ("joint", "bone", "joint-motion", "bone-motion")


@dataclass(frozen=True)
class Translation:
    """What to type here.

    Attributes:
        commands: Our command lines, word by word, in the order to type them; none where there is
            no counterpart yet.
        notes: What the user should know.
        environment: ``NAME=value`` words that stand in front of each.
    """

    commands: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the command lines as they are typed."""
        return [" ".join((*self.environment, *map(shlex.quote, words))) for words in self.commands]


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
    line = take_apart(text)
    if line.script in RAW_SCRIPTS:
        return _recordings(line)
    if line.script == "ntu_gendata":
        return _gendata(line)
    if line.script == "get_reference_models":
        return _reference_models()
    program = program or program_of(line, text)
    if line.script not in ("main", "ensemble") and not line.script.startswith("main_multipart"):
        known = ("main", "ensemble", "main_multipart_ntu", "main_multipart_ucla", *RAW_SCRIPTS)
        raise RecipeError(f"'{line.script}' is no script of theirs{nearest(line.script, known)}")
    if program == "aimclr":
        return _self_supervised(line)
    if "help" in line.flags:
        return Translation((("kinegraph", "train", "--help"),))
    refuse_unknown(line, program)
    if line.script == "ensemble":
        return _ensemble(line, program)
    if line.one("phase", "train") == "test":
        return _test(line, program)
    words, notes = training_words(line, program)
    return Translation((words,), notes, line.environment)


def _test(line: Line, program: str) -> Translation:
    weights = line.one("weights")
    if not weights:
        raise RecipeError("--phase test needs --weights FILE")
    settings = settings_of(line)
    data = data_of(line, settings)
    notes: list[str] = []
    words = ["kinegraph", "convert", weights]
    if program != UNKNOWN:
        words += ["--system", program]
    if data is not None:
        stream, notes = stream_in(line, program, data, settings)
        words += ["--stream", stream, *(["--split", data.split] if data.split else [])]
    elif line.one("config"):
        words += ["--config", line.one("config")]
    if data is not None and data.name == "ntu60" and program == "frhead":
        words += ["--classes", "ntu60"]  # whose published heads are for 120
    elif data is not None and data.group == "kinetics":
        words += ["--classes", STORE]  # whose names no weights tell
    ours = re.sub(r"\.\w+$", "", weights) + ".safetensors"
    folder = line.one("work_dir")
    scores = f"{folder.rstrip('/')}/scores.npz" if folder else re.sub(r"\.\w+$", ".npz", ours)
    test = ["kinegraph", "test", ours, "--data.store", STORE, "--out", scores]
    if "test_batch_size" in line.flags:
        test += ["--batch-size", line.one("test_batch_size")]
    if "device" in line.flags:
        test += ["--device", *line.flags["device"]]
    notes.append("a run that kinegraph trained needs no conversion: kinegraph test RUN")
    return Translation(
        (tuple([*words, "--out", ours]), tuple(test)), tuple(notes), line.environment
    )


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
    if data is not None and data.group == "ntu":
        words += ["--order", _benchmark(data), "--data.store", STORE]
    elif data is not None:
        notes.append("their files number the clips of NW-UCLA: give --order FILE with the names")
    return Translation((tuple(words),), tuple(notes), line.environment)


def _benchmark(data: Data) -> str:
    return data.name if data.group == "ucla" else f"{data.name}-{data.split}"


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


def _self_supervised(line: Line) -> Translation:
    kind = line.words[0] if line.words else line.script
    if kind.startswith("linear"):
        near = "kinegraph probe RUN --protocol linear judges features without a schedule"
    else:
        near = "the method is there (--objective.name aimclr), a recipe of this run is not"
    return Translation((), (f"no counterpart yet: '{kind}'; {near}",))
