"""A report of a run: which sections it has, from the numbers that `anatomy.report` gives.

A number that is not there leaves out its picture, and a section without any is left out whole.
"""

from collections.abc import Mapping
from typing import Any

from drawing.page import Section, Table
from drawing.reading import read_text, token_nats
from drawing.run import curves, gradients, memory
from drawing.scores import confusion, length, mistakes, reliable, thresholds
from drawing.updates import spectra, update_map
from drawing.writing import kinds, samples

_WHAT = {"lora": "LoRA", "head": "the head alone", "full": "all weights"}
SECTIONS = (
    curves, gradients, update_map, spectra, confusion, mistakes, length, thresholds, reliable, read_text, kinds,
    samples, token_nats, memory,
)  # fmt: skip


def sections(report: Mapping[str, Any]) -> list[Section]:
    """In the order of the page."""
    return [found for make in (*SECTIONS, missing) if (found := make(report)) is not None]


def missing(report: Mapping[str, Any]) -> Section | None:
    """What could not be computed, and why."""
    notes = report.get("notes") or []
    if not notes:
        return None
    return Section(
        "missing", "What is not here", "Some of it could not be computed.", [Table(["why"], [[n] for n in notes])]
    )


def title(report: Mapping[str, Any]) -> str:
    return f"Inside {report['run']['name']}"


def lead(report: Mapping[str, Any]) -> str:
    """What was trained on what, in a sentence or two."""
    run = report["run"]
    lora = run.get("lora") or {}
    how = f" (rank {lora['r']}, alpha {lora['alpha']:g}, on {', '.join(lora['targets'])})" if lora else ""
    task = "writes" if run.get("task") == "language" else "classifies"
    what = _WHAT.get(run.get("train"), run.get("train"))
    said = f"A model that {task}: {what or 'trained'}{how} on {run.get('model') or 'a base that is not known'}"
    said += f", {run['steps']} steps" * (run.get("steps") is not None)
    said += f", on {run['dataset']}." if run.get("dataset") else "."
    results = run.get("results") or {}
    if (rows := results.get("rows")) and run.get("kept_step") is not None:
        said += f" {rows['train']:,} rows are in its training part, and the weights are those of step "
        said += f"{run['kept_step']:,}."
    return said
