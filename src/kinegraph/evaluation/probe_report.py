"""Writes what a probe found as a page: numbers, curves, a picture of features, nearest neighbours.

Place in the flow: the last step of ``kinegraph probe``. The page is one file that loads nothing,
and its template escapes every text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kinegraph.errors import ScoreError
from kinegraph.evaluation.curves import run_charts
from kinegraph.evaluation.embedding_picture import EmbeddingPicture, embedding_picture
from kinegraph.evaluation.neighbours import find_neighbours
from kinegraph.evaluation.plane import Placed, place
from kinegraph.evaluation.probe import ENCODER, Probed, doubts
from kinegraph.evaluation.report import versions
from kinegraph.evaluation.templates import environment
from kinegraph.files import write_text
from kinegraph.training.run_folder import RunFolder

PAGE, PICTURE = "report", "picture"


def page_of(probed: Probed, run: RunFolder) -> Path:
    """Return where the page of a probed run goes: not where that of its test is."""
    return run.probe_report if probed.classifies else run.report


def write_probe_report(
    path: Path,
    probed: Probed,
    *,
    protocol: str,
    settings: Mapping[str, float | str],
    clouds: Mapping[str, Placed] | None = None,
) -> Path:
    """Write a self-contained page and return its path. What stands there is replaced.

    Args:
        path: The HTML file.
        probed: What was found.
        protocol: How, as the command line names it.
        settings: Settings of the judge by name.
        clouds: Test clips on a plane, by whose features; default: by the encoder's, found here.

    Raises:
        OutputError: The file cannot be written.
    """
    opened, clips = probed.opened, probed.clips
    recipe, data, run = opened.checkpoint.recipe, opened.data, opened.folder
    lacking = ""
    if clouds is None:
        try:
            clouds = {ENCODER: place(clips.test_x, clips.test_y)}
        except ScoreError as error:
            lacking = str(error)
    queries = find_neighbours(clips, data.store, data.rows["train"], data.rows["test"])
    page = environment().get_template("probe_report.html.j2")
    html = page.render(
        title=_title(probed),
        unlabelled=not probed.classifies,
        probed=probed,
        protocol=protocol,
        settings=settings,
        notes=opened.notes("test"),
        doubts=doubts(probed.rows),
        curves=run_charts(run.read_metrics(), recipe.evaluation.selection) if run else [],
        picture=picture_of(probed, clouds) if clouds else None,
        no_picture=lacking,
        drawn=len(next(iter(clouds.values())).clips) if clouds else 0,
        queries=queries,
        mistaken=sum(not query.neighbours[0].same for query in queries),
        provenance={**opened.provenance(), **versions()},
        recipe=recipe.to_yaml().strip(),
    )
    write_text(path, html)
    return path


def picture_of(probed: Probed, clouds: Mapping[str, Placed]) -> EmbeddingPicture:
    """Lay out test clips of a probed run on a plane, by whose features they were placed."""
    store, rows = probed.opened.data.store, probed.opened.data.rows["test"]
    names: Sequence[str] = store.clips["name"][rows].tolist()
    return embedding_picture(
        clouds,
        names,
        probed.clips.test_y,
        store.class_names,
        title=f"t-SNE of features of test clips: {_title(probed)}",
    )


def _title(probed: Probed) -> str:
    recipe, store = probed.opened.checkpoint.recipe, probed.opened.data.store
    how = "" if probed.classifies else f", {recipe.objective.name}"  # type: ignore[attr-defined]
    return f"{recipe.backbone.name}{how} on {store.path.name}, {recipe.stream} stream"  # type: ignore[attr-defined]
