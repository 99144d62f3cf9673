"""Each sentence of a report is true of the run that it is about, whatever that run was."""

from xml.etree import ElementTree

import drawing
from tests.drawing import reports

SVG = "{http://www.w3.org/2000/svg}"


def section(report, name) -> drawing.Section:
    return next(s for s in drawing.sections(report) if s.name == name)


def test_the_activations_are_said_to_be_of_so_many_rows():
    report = reports.classifier()
    assert section(report, "memory").says.endswith("; the activations are those of 32 rows in one pass.")
    for row in report["memory"]:
        row.pop("activations", None)
    assert "activations" not in section(report, "memory").says


def test_the_chosen_threshold_has_its_line_and_its_row_wherever_it_lies():
    report = reports.classifier()
    report["evaluation"] |= {"best_threshold": {"threshold": 0.0193, "f1": 0.8}}  # lower than any of the curve
    found = section(report, "thresholds")
    assert "says 0.0193 (the upright line)" in found.says
    root = ElementTree.fromstring(found.parts[0].picture)
    upright = [e for e in root.iter(f"{SVG}line") if e.get("class") == "zero" and e.get("x1") == e.get("x2")]
    assert any(abs(float(e.get("y1")) - float(e.get("y2"))) > 100 for e in upright)
    row = {"threshold": 0.0193, "precision": 0.1, "recall": 1.0, "f1": 0.18}
    rows = [{**row, "threshold": t / 50} for t in range(1, 50)]
    report["evaluation"]["threshold_curve"] = [{**row, "threshold": 0.01}, row, *rows]
    assert ["0.0193", "0.100", "1.00", "0.180"] in section(report, "thresholds").parts[0].table.rows


def test_the_weights_are_those_of_the_step_that_was_kept():
    report = reports.classifier()
    report["run"] |= {"kept_step": 40}
    assert "640 rows are in its training part, and the weights are those of step 40." in drawing.lead(report)
    report["run"]["kept_step"] = None
    assert "weights" not in drawing.lead(report).split("messages.tsv.")[1]


def test_of_many_labels_the_commonest_is_drawn_and_the_rest_is_counted():
    report = reports.many_labels(14)
    for row in report["evaluation"]["by_length"]:
        row["said"], row["true"] = ([0.5 if i == at else 0.5 / 13 for i in range(14)] for at in (2, 9))
    found = section(report, "length")
    assert "of the shortest 3.8 % were called label 9" in found.says
    assert found.says.endswith("; of 14 labels only the commonest is shown.")
    assert found.parts[0].table.head == ["characters", "rows", "right", "said label 9", "is label 9"]
    assert "commonest" not in section(reports.classifier(), "length").says


def test_a_diagonal_is_told_of_where_there_is_a_matrix():
    assert "on the diagonal" in section(reports.many_labels(12), "confusions").says
    assert section(reports.many_labels(13), "confusions").says.endswith("; 13 labels are too many for a matrix.")


def test_of_an_embedding_it_is_a_that_starts_as_zeros():
    report = reports.classifier()
    assert "embedding" not in section(report, "gradients").says
    for row in report["gradients"]:
        row |= {"lora_embedding_A": 1.0, "lora_embedding_B": row["step"] / 50}
    found = section(report, "gradients")
    assert "while of the embedding it is A that starts as zeros and B that waits" in found.says
    assert found.parts[0].table.head[-2:] == ["A of the embedding", "B of the embedding"]


def test_the_map_compares_the_blocks_though_the_embedding_moved_more():
    report = reports.classifier()
    before = opacities(report)
    wte = {"layer": "wte", "block": None, "module": "wte", "part": None, "relative": 5.0, "singular_values": [50.0]}
    report["updates"].append(wte | {"norm": 50.0, "stable_rank": 1.0})
    assert opacities(report) == [*before, 1.0] and max(before) == 1.0
    says = section(report, "map").says
    assert "the largest is wte, 500.0 %. The colours compare the blocks" in says
    assert "compare" not in section(reports.classifier(), "map").says


def opacities(report) -> list[float]:
    picture = section(report, "map").parts[0].picture
    return [
        float(e.get("fill-opacity"))
        for e in ElementTree.fromstring(picture).iter(f"{SVG}rect")
        if e.get("class") == "heat"
    ]


def test_scores_that_are_not_known_are_not_drawn():
    report = reports.classifier()
    for row in report["curves"]:
        row |= {"f1": None} if "part" in row else {}
    assert section(report, "curves").parts
