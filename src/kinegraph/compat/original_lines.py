"""What a command line of an original program says: whose it is, its recordings and its stream.

Place in the flow: ``translate`` asks; the tables are in ``original_flags``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from kinegraph.compat.command_words import Line
from kinegraph.compat.original_flags import (
    ALONE,
    CONTRAST,
    DATA,
    DATA_SETS,
    ENSEMBLE,
    HANDLED,
    KEYS,
    NEEDLESS,
    OWN_HANDLED,
    OWN_KEYS,
    RECORDINGS,
    Data,
)
from kinegraph.compat.original_settings import (
    DATA_CASES,
    Settings,
    read_settings,
    stream_of,
    stream_told,
)
from kinegraph.errors import RecipeError, nearest, shown, unknown

UNKNOWN = "unknown"  # a line that could be of several programs
CONTRAST_WORDS = ("pretrain", "linear_evaluation", "finetune", "semi")  # AimCLR and its kin
PHASES = ("train", "test")


def is_contrast(line: Line) -> bool:
    """Whether a line is of AimCLR or its kin."""
    ensemble = re.match(r"ensemble_(ntu|pku)", line.script) is not None
    return ensemble or bool(line.words and line.words[0].startswith(CONTRAST_WORDS))


def program_of(line: Line, settings: Settings) -> str:
    """Return which program a line is of, by what only it has: options, or names.

    Where results go tells nothing: people call that as they like.
    """
    if is_contrast(line):
        return "aimclr"
    files = [path for flag in ("weights", *ENSEMBLE) for path in line.flags.get(flag, ())]
    ends = (f"/{part}" for path in files for part in PurePosixPath(path).parts[-2:])
    parts = (f"/{part}" for part in config_parts(line))
    model = line.one("model") or str(settings.values.get("model") or "")
    whole = (line.script, model, line.one("dataset"), line.one("datasets"))
    lower = " ".join((*whole, *parts, *ends)).lower()
    marks = (
        ("infogcn", bool(_INFOGCN_ONLY & line.flags.keys()) or "infogcn" in lower),
        ("lst", "multipart" in line.script or "_lst_" in lower or "/lst_" in lower),
        ("frhead", bool(OWN_KEYS["frhead"].keys() & line.flags.keys()) or "cl_mode" in line.flags),
        ("frhead", "fr-head" in lower or "rand_scale" in lower),
        ("stgcn", "st-gcn" in lower or "st_gcn" in lower),
        ("ctrgcn", any(piece in lower for piece in ("nturgbd", "ucla"))),
        ("ctrgcn", any(flag.endswith("_dir") for flag in line.flags) or model[:6] == "model."),
    )
    return next((program for program, yes in marks if yes), UNKNOWN)


_INFOGCN_ONLY = {*OWN_KEYS["infogcn"], "modal_idx", "datacase", "position_ckpts", "motion_ckpts"}


def check_options(line: Line, program: str, own: Iterable[str] = ()) -> None:
    """Raise RecipeError, naming them, if a line has options that its program has not.

    Args:
        line: The command line.
        program: Whose it is.
        own: Options that the program's other commands have.
    """
    own = (*OWN_KEYS.get(program, {}), *OWN_HANDLED.get(program, ()), *own)
    # Option -> a program that has it.
    whose = {
        flag: name for table in (OWN_KEYS, OWN_HANDLED) for name in table for flag in table[name]
    }
    if program == UNKNOWN:
        own = (*own, *whose)
    if line.script == "ensemble":
        own, whose = ENSEMBLE, {}
    known = (*KEYS, *own, *NEEDLESS, *HANDLED, *(() if program in CONTRAST else RECORDINGS))
    strange = [flag for flag in line.flags if flag not in known]
    if strange:
        named = ", ".join(f"--{flag}" for flag in strange)
        of = "these programs" if program == UNKNOWN else program
        of = "the ensembles" if line.script == "ensemble" else of
        hint = nearest(strange[0], (*known, *whose))
        hint = f"; {whose[strange[0]]} has --{strange[0]}" if strange[0] in whose else hint
        raise RecipeError(f"{named}: no option of {of} that is known here{hint}")
    for flag, found in line.flags.items():
        if not "".join(found) and flag not in ALONE and (flag in own or flag not in NEEDLESS):
            raise RecipeError(f"--{flag} needs a value")


def devices(line: Line) -> list[str]:
    """Return our words for the devices that a line names.

    Raises:
        RecipeError: They are no numbers, and not the CPU.
    """
    found = line.flags.get("device", ())
    if not all(re.fullmatch(r"\d{1,4}", one) for one in found) and found != ("cpu",):
        raise RecipeError(
            f"--device {' '.join(found)}: expected numbers of GPUs, such as 0 1, or cpu"
        )
    return ["--device", *found] if found else []


def settings_of(line: Line) -> Settings:
    """Return what the settings file says that a line names, if it is there."""
    config = Path(line.one("config"))
    return read_settings(config) if config.suffix and config.is_file() else Settings()


def tests(line: Line, settings: Settings) -> bool:
    """Whether a line, or its settings file, tests instead of training.

    Raises:
        RecipeError: It has a phase that there is not.
    """
    phase = line.one("phase") or str(settings.values.get("phase") or "train")
    if phase not in PHASES:
        where = "--phase" if "phase" in line.flags else "phase in the settings file"
        raise RecipeError(unknown(where, phase, PHASES))
    return phase == "test"


def weights_in(line: Line, settings: Settings) -> str:
    """Return the weights that a line, or its settings file, begins from or tests; or nothing.

    Raises:
        RecipeError: The file has something else there than a name.
    """
    if weights := line.one("weights"):
        return weights
    named = settings.values.get("weights")
    if named and not isinstance(named, str):
        raise RecipeError(
            f"weights in the settings file: {shown(named)}; expected the name of one file: name it"
            " by --weights"
        )
    return settings.weights or ""


def data_of(line: Line, settings: Settings) -> Data | None:
    """Return the recordings that a line names, by --dataset or its settings file.

    Raises:
        RecipeError: There are none of the name.
    """
    named = line.one("dataset", line.one("datasets")).lower()
    if named and named not in DATA_SETS:
        raise RecipeError(unknown("--dataset", named, DATA_SETS))
    case = line.one("datacase")
    if case and case not in DATA_CASES:
        raise RecipeError(unknown("--datacase", case, DATA_CASES))
    case = case or str(settings.values.get("datacase") or "")
    data = DATA_SETS.get(named or str(settings.values.get("dataset")).lower())
    data = data or _recordings(line, settings)
    if data is None or data.group != "ntu":
        return data
    return Data(data.name, data.group, DATA_CASES.get(case, data.split))


def _recordings(line: Line, settings: Settings) -> Data | None:
    """Return the recordings of a settings file: what it says goes before where it is."""
    if not settings.classes and (settings.layout == "ucla20" or settings.split == "view3"):
        return DATA["ucla"]
    if settings.layout == "openpose18":
        return DATA["kinetics"]
    parts = config_parts(line)
    named = next((data for part in parts for piece, data in DATA.items() if piece in part), None)
    if named is not None and named.group != "ntu" and settings.layout == "ntu25":
        named = None  # a folder that is called so
    if named is not None and named.group != "ntu" and not settings.classes:
        return named
    split = settings.split or (named.split if named is not None else None)
    if split is None or settings.classes == "pku-mmd":  # which these programs have not
        return None
    name = settings.classes or (named.name if named is not None else "ntu60")
    only = {"xset": "ntu120", "xview": "ntu60"}  # of the two that have no name in the file
    return Data(name if settings.classes else only.get(split, name), "ntu", split)


def config_parts(line: Line) -> tuple[str, ...]:
    """Return what of the settings file's path tells something, in lower case, the last part first.

    That are its name and the folders from ``config`` on, or else the one that it is in: those
    further up are the user's own.
    """
    parts = PurePosixPath(line.one("config").lower()).parts
    folders = [at for at, part in enumerate(parts[:-1]) if part in ("config", "configs")]
    return parts[folders[-1] + 1 if folders else -2 :][::-1]


def stream_in(line: Line, program: str, data: Data, settings: Settings) -> tuple[str, list[str]]:
    """Return our name of the stream, and what was assumed."""
    if not {"k", "modal_idx"} & line.flags.keys() and (told := _told(settings, program)):
        if "use_vel" in line.flags:
            told = told.removesuffix("-motion") + ("-motion" if line.true("use_vel") else "")
        return told, []
    name = PurePosixPath(line.one("config").lower()).stem
    bone = "bone" in name or "_bone" in line.one("model")
    motion = "vel" in name or "motion" in name or settings.motion
    motion = line.true("use_vel") if "use_vel" in line.flags else motion
    if program not in ("infogcn", "lst"):
        return stream_of(k=None, bone=bone, motion=motion), []
    k, notes = _k(line, program), []
    if k is None and program == "lst":
        k = 1 if bone else 6 if data.group == "ucla" else 8
    if k is None:
        k = 7 if data.group == "ucla" else 8
        notes.append("without --k the original makes every input zero (k = 0); joints are assumed")
    return stream_of(k=k, bone=False, motion=motion), notes


def _told(settings: Settings, program: str) -> str | None:
    try:
        return stream_told(settings, program)
    except RecipeError as error:
        remedy = "say another on the line, such as --k 8 for joints"
        if program not in ("infogcn", "lst"):
            remedy = "change it there"
        raise RecipeError(f"{error}: {remedy}") from error


def _k(line: Line, program: str) -> int | None:
    """Return k, the distance to the ancestor that is subtracted; ``--modal_idx i`` is 8 - i."""
    for flag in ("k", "modal_idx"):
        text = line.one(flag)
        if not text:
            continue
        if not re.fullmatch(r"\d{1,2}", text):
            raise RecipeError(f"--{flag} {text}: expected a whole number")
        k = 8 - int(text) if flag == "modal_idx" else int(text)
        if k < 1:
            if program == "lst" and k == 0:
                return 8  # there, k = 0 is the joints themselves
            raise RecipeError(f"--{flag} {text} means k = {k}, which makes every input zero")
        return k
    return None
