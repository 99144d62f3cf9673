"""Scores of texts that JSON has no number for."""

import json
from types import SimpleNamespace

import pytest

from tasks.language import METRICS, Language


@pytest.mark.promise("P7")
@pytest.mark.parametrize(("nats", "shown"), [(3.0, "20.1"), (900.0, "above 1e307")])
def test_a_perplexity_that_no_float_holds_is_null_and_is_shown_as_such(nats, shown):
    window = SimpleNamespace(targets=[1])
    task = SimpleNamespace(rows=SimpleNamespace(of_part=lambda part: [window], bytes_of=lambda part: 1))
    scores = Language._scores_of(task, nats, "test")
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    perplexity = next(metric for metric in METRICS if metric.name == "perplexity")
    assert perplexity.text(scores["perplexity"]) == shown
