"""Each sentence of a report is true of the run that it is about, whatever that run was."""

import drawing
from tests.drawing import reports


def section(report, name) -> drawing.Section:
    return next(s for s in drawing.sections(report) if s.name == name)


def test_the_activations_are_said_to_be_of_so_many_rows():
    report = reports.classifier()
    assert section(report, "memory").says.endswith("; the activations are those of 32 rows in one pass.")
    for row in report["memory"]:
        row.pop("activations", None)
    assert "activations" not in section(report, "memory").says
