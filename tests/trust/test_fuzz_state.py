"""state.json and MANIFEST.json with anything in them: gone on from, or refused in a line; never an error of our own.

TRUST_EXAMPLES is the number of examples; with `-m long` it is 3,000.
"""

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.trust import trees
from tests.trust.taking_up import reseal, take_up

pytest.importorskip("hypothesis", reason="needs pip install -r requirements-dev.txt")

from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

pytestmark = pytest.mark.promise("P16")
STEP_20 = Path("run/checkpoints/step-000020")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
NEAR = st.sampled_from([0, -1, 1, 2**63, 1e308, "", "20", True, [], {}, None, "../state.json", "/etc/passwd", "\0"])
QUIET = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


def changed(values: dict, draw) -> dict:
    """One value, at any depth, exchanged for another; or its key dropped, or written another way."""
    place, values = values, json.loads(json.dumps(values))
    place = values
    while True:
        key = draw(st.sampled_from(sorted(place)))
        inner = place[key]
        if not (isinstance(inner, dict) and inner and draw(st.booleans())):
            break
        place = inner
    what = draw(st.sampled_from(["exchange", "near", "drop", "rename"]))
    if what in ("drop", "rename"):
        value = place.pop(key)
        if what == "rename":
            place[draw(st.text(max_size=8))] = value
    else:
        place[key] = draw(NEAR if what == "near" else JSON)
    return values


def check(tree: Path, cwd: Path, name: str, text: str, sealed: bool) -> None:
    """Take up the run with another text in a file of its last checkpoint; `sealed`: the manifest agrees with it."""
    shutil.rmtree(cwd, ignore_errors=True)
    trees.copied(tree, cwd)
    (cwd / STEP_20 / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    if sealed:
        reseal(cwd / STEP_20)
    began = time.process_time()
    for path in (STEP_20, Path("run")):
        said = take_up(cwd, str(path))  # an exception comes through, whatever it is
        assert said.code in (0, 2, 4), said
        assert said.code == 0 or (said.err.startswith("error: ") and said.err.count("\n") == 1), said
    assert time.process_time() - began < 4, "two seconds of work each"


def look(tree: Path, cwd: Path, examples: int) -> None:
    state = json.loads((tree / STEP_20 / "state.json").read_text())
    manifest = json.loads((tree / STEP_20 / "MANIFEST.json").read_text())

    @settings(max_examples=examples // 2, **QUIET)
    @given(st.data())
    def states(data):
        check(tree, cwd, "state.json", json.dumps(changed(state, data.draw)), sealed=True)

    @settings(max_examples=examples // 8, **QUIET)
    @given(JSON)
    def any_state(value):
        check(tree, cwd, "state.json", json.dumps(value), sealed=True)

    @settings(max_examples=examples // 4, **QUIET)
    @given(st.data())
    def manifests(data):
        check(tree, cwd, "MANIFEST.json", json.dumps(changed(manifest, data.draw)), sealed=False)

    @settings(max_examples=examples // 8, **QUIET)
    @given(JSON.map(json.dumps) | st.text(max_size=40))
    def any_manifest(text):
        check(tree, cwd, "MANIFEST.json", text, sealed=False)

    for property_ in (states, any_state, manifests, any_manifest):
        property_()


@pytest.mark.slow
def test_whatever_stands_in_state_and_manifest_is_gone_on_from_or_refused_in_a_line(after_20, tmp_path):
    look(after_20, tmp_path / "cwd", int(os.environ.get("TRUST_EXAMPLES", 100)))


@pytest.mark.long
def test_whatever_stands_in_state_and_manifest_many_times(after_20, tmp_path):
    look(after_20, tmp_path / "cwd", int(os.environ.get("TRUST_EXAMPLES", 3000)))


@pytest.mark.slow
@pytest.mark.promise("P11")
def test_deep_and_large_json_is_refused_in_a_line(after_20, tmp_path):
    deep, large = "[" * 100_000 + "]" * 100_000, '{"state": "' + "x" * 50_000_000 + '"}'
    for text in (deep, large, '{"step": ' + "9" * 5_000 + "}", '{"a": NaN}', "\ufeff{}"):
        for name, sealed in (("state.json", True), ("MANIFEST.json", False)):
            check(after_20, tmp_path / "cwd", name, text, sealed)
