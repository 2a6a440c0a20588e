"""The plans that come with kinegraph: a file for each system, a table of it for each data set.

A file holds what all tables of a system have in common, and under ``tables`` what each data set
changes or adds. What is the same for all systems, where recordings come from and how many clips
they have, stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kinegraph.errors import RecipeError, unknown
from kinegraph.recipe_files import read_recipe
from kinegraph.reproduction.plan import Plan, make_plan, read_plan
from kinegraph.yaml_text import read_yaml


@dataclass(frozen=True)
class DataSet:
    """Recordings that figures are published for, with one division into training and test.

    Attributes:
        words: What headings call it.
        recordings: What has to be at hand.
        source: The format and the source of `kinegraph data import`.
        split: Our name of the division; None where the store brings it.
        clips: How many train; None where nobody counted them here.
    """

    words: str
    recordings: str
    source: str
    split: str | None
    clips: int | None


def _ntu(number: int, split: str, train: int, test: int) -> DataSet:
    return DataSet(
        f"NTU RGB+D {number}, {split}",
        f"the skeletons of NTU RGB+D {number} (on request), {train:,} clips train, {test:,} test",
        f"ntu{number} NTU_FOLDER",
        split,
        train,
    )


def _pku_mmd(part: int) -> DataSet:
    return DataSet(
        f"PKU-MMD {'I' * part}, xsub",
        f"the skeletons and labels of PKU-MMD part {'I' * part} (on request), unpacked",
        f"pku-mmd PKU_FOLDER --part {part}",
        "xsub",
        None,
    )


DATA_SETS = {
    "ntu60-xsub": _ntu(60, "xsub", 40_091, 16_487),
    "ntu60-xview": _ntu(60, "xview", 37_646, 18_932),
    "ntu120-xsub": _ntu(120, "xsub", 63_026, 50_919),
    "ntu120-xset": _ntu(120, "xset", 54_468, 59_477),
    "nw-ucla": DataSet(
        "NW-UCLA",
        "Northwestern-UCLA (all_sqe.zip), 1,020 clips train, 464 test",
        "nw-ucla all_sqe.zip",
        "view3",
        1_020,
    ),
    "pku-mmd-1": _pku_mmd(1),
    "pku-mmd-2": _pku_mmd(2),
    "kinetics": DataSet(
        "Kinetics-skeleton",
        "Kinetics-skeleton (kinetics-skeleton.zip)",
        "kinetics kinetics-skeleton.zip",
        None,
        None,
    ),
}


def plan_names() -> tuple[str, ...]:
    """Return the names of the plans that come with kinegraph, by system."""
    return tuple(_plans())


def load_plan(name: str) -> Plan:
    """Return a plan by its name, or from a YAML file of your own.

    Raises:
        RecipeError: There is no such plan, or its file is wrong.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        return read_plan(Path(name))
    plans = _plans()
    if name in plans:
        return plans[name]
    tables: dict[str, list[str]] = {}
    for system, data_set in (known.split(":") for known in plans):
        tables.setdefault(system, []).append(data_set)
    system, _, data_set = name.partition(":")
    if system not in tables:
        what = f"plan '{name}': {unknown('system', system, tables)}"
        raise RecipeError(f"{what}; or name a .yaml file")
    if data_set:
        raise RecipeError(f"plan '{name}': {unknown('data set', data_set, tables[system])}")
    raise RecipeError(
        f"plan '{system}' lacks its data set, as in {system}:{tables[system][0]}; there are"
        f" {', '.join(tables[system])}"
    )


@cache
def _plans() -> Mapping[str, Plan]:
    """Read the files of all systems, in the order of their tables."""
    folder = resources.files("kinegraph") / "reproduction" / "plans"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".yaml")),
        key=lambda file: file.name.removesuffix(".yaml"),
    )
    plans = {}
    for file in files:
        where = f"plan file {file.name}"
        common = read_yaml(file.read_text("utf-8"), where=where)
        tables = common.pop("tables")
        for data_set, own in tables.items():
            name = f"{common['system']}:{data_set}"
            plans[name] = make_plan(_values(name, common | own), where=f"{where}, {data_set}")
    return MappingProxyType(plans)


def _values(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Complete what a file says of one table to the values of a plan."""
    values = dict(given)
    data_set = name.partition(":")[2]
    data = DATA_SETS[data_set]
    system, made_for = values.pop("system"), values.pop("made_for", "a GPU")
    values["name"] = name
    values["title"] = f"{values['title']} on {data.words}"
    values["recordings"] = data.recordings
    cleaning, form = values.pop("cleaning", ""), values.pop("form", "")
    values["prepare"] = _prepare(data, cleaning if data_set.startswith("ntu") else "", form)
    if values.get("before") is not None:
        values["before"] = _with_split(values["before"], data)
    values = _with_split(values, data)
    for ensemble in values.get("ensembles", {}):
        members = {"preset": f"{system}:{data_set}"} | values["ensembles"][ensemble]
        values["ensembles"] = values["ensembles"] | {ensemble: members}
    for kind in ("published", "reported"):
        by = values.pop(f"{kind}_by", "the paper")
        figures = values.get(kind, {}).items()
        values[kind] = [
            {"of": of, "percent": found if isinstance(found, list) else [found], "by": by}
            for of, found in figures
        ]
    values["cost"] = f"{_cost(values, data)}; made for {made_for}"
    return values


def _prepare(data: DataSet, cleaning: str, form: str) -> str:
    """Return the commands that make STORE, by way of files of an original program if need be."""
    cleaned = f" --cleaning {cleaning}" if cleaning else ""
    imported = f"kinegraph data import {data.source}{cleaned} --out"
    if not form:
        return f"{imported} STORE"
    files = f"FILES/{data.split}"  # a folder called like a split tells it
    lines = (
        f"{imported} WHOLE",
        f"kinegraph data export WHOLE --format {form} --split {data.split} --out {files}",
        f"kinegraph data import {form} {files} --out STORE",
    )
    return "\n".join(lines)


def _with_split(values: dict[str, Any], data: DataSet) -> dict[str, Any]:
    """Set the split of a stage where that of its recipe is another."""
    if data.split == read_recipe(values["recipe"])["data"].get("split"):
        return values
    return values | {"options": {"data.split": data.split} | values.get("options", {})}


def _cost(values: Mapping[str, Any], data: DataSet) -> str:
    """Say how many runs of how many epochs a plan has, and how many clips they are shown."""
    training = read_recipe(values["recipe"])["training"]
    epochs: list[int] = []
    for stream, seeds in values["runs"].items():
        set_here = values.get("options", {}) | values.get("stream_options", {}).get(stream, {})
        epochs += [set_here.get("training.epochs", training["epochs"])] * len(seeds)
    first = _epochs_before(values)
    told = f"{_runs(first)} before, " if first else ""
    told += _runs(epochs)
    if data.clips is not None:
        clips = data.clips * training.get("repeat", 1)
        shown = clips * (sum(first) + sum(epochs)) / 1e6
        told += f" of {clips:,} clips, {shown:.1f} million clips in all"
    return told


def _epochs_before(values: Mapping[str, Any]) -> list[int]:
    """Return the epochs of every run that is trained before others."""
    before = values.get("before")
    if before is None:
        return []
    training = read_recipe(before["recipe"])["training"]
    epochs: int = before.get("options", {}).get("training.epochs", training["epochs"])
    seeds = values["runs"].values()
    count = sum(map(len, seeds)) if before.get("stream") is None else max(map(len, seeds))
    return [epochs] * count


def _runs(epochs: list[int]) -> str:
    many = "run" if len(epochs) == 1 else "runs"
    return f"{len(epochs)} {many} of {' or '.join(map(str, sorted(set(epochs))))} epochs"
