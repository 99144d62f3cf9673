"""The walls of the house: who may import whom, and how long a file and a function may be."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("lora", "gpt2", "data", "training")
ANATOMY, DRAWING = "anatomy", "drawing"  # one computes what can be seen of a run, the other draws it
DOORS = ("train", "infer", "generate", "explain", "demo")
FOLDERS = (*ROOMS, "tasks", ANATOMY, DRAWING, "scripts", "benchmarks", "exercises", "tests")
ATTEMPTS = ROOT / "exercises" / "attempts"  # what a learner writes there is hers
NAMESPACE = ROOT / "scripts" / "page_namespace.py"
SOURCES = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py") if p.parent != ATTEMPTS)
SOURCES += [ROOT / f"{door}.py" for door in DOORS]


def imported(path: Path) -> set[str]:
    """The first words of all module names that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_neither_each_other_nor_a_door(room):
    others = {*DOORS, *FOLDERS} - {room}
    for path in (ROOT / room).rglob("*.py"):
        wrong = imported(path) & others
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(wrong)}: rooms do not know each other"


def test_the_meeting_place_of_the_rooms_imports_no_door():
    for path in (ROOT / "tasks").rglob("*.py"):
        wrong = imported(path) & ({*DOORS, *FOLDERS} - {*ROOMS, "tasks"})
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(wrong)}"


def test_what_computes_a_picture_never_draws_it():
    for path in (ROOT / ANATOMY).rglob("*.py"):
        wrong = imported(path) & ({*DOORS, *FOLDERS} - {*ROOMS, "tasks", ANATOMY})
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(wrong)}"


def test_what_draws_a_picture_knows_python_and_numbers_alone():
    for path in (ROOT / DRAWING).rglob("*.py"):
        wrong = imported(path) - {DRAWING, *sys.stdlib_module_names}
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(wrong)}"


def test_nothing_needs_the_exercises_but_themselves_and_tests():
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] not in ("exercises", "tests"):
            assert "exercises" not in imported(path), path


@pytest.mark.parametrize("room", (*ROOMS, "tasks", ANATOMY, DRAWING))
def test_inside_a_room_imports_form_no_circle(room):
    graph = {}
    for path in (ROOT / room).glob("*.py"):
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        froms = [n.module for n in tree if isinstance(n, ast.ImportFrom) and (n.module or "").startswith(f"{room}.")]
        graph[path.stem] = {module.split(".")[1] for module in froms} - {"__init__"}
    graph.pop("__init__", None)
    while graph:
        free = [name for name, needs in graph.items() if not needs & set(graph)]
        assert free, f"{room}/: {', '.join(sorted(graph))} import one another in a circle"
        for name in free:
            del graph[name]


def test_nothing_at_run_time_needs_transformers_or_peft():
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] not in ("tests", "benchmarks"):
            wrong = imported(path) & {"transformers", "peft", "accelerate"}
            assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(wrong)}"


def test_the_lanes_of_speed_import_nothing_of_the_proof_of_equality():
    """What a lane imports is part of its time. (The other way round is free: rule_e.py takes the lanes' recipe.)"""
    for path in (ROOT / "benchmarks" / "speed").glob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        ours = [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module.startswith("benchmarks")]
        wrong = [m for m in ours if m != "benchmarks.machine" and not m.startswith("benchmarks.speed.")]
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(wrong)}"


def test_only_what_loads_from_the_hub_needs_the_datasets_library():
    """It is not everywhere where a GPU is. (Tests that compare with it skip where it is not.)"""
    needing = [p for p in SOURCES if "datasets" in imported(p) and "tests" not in p.parts]
    assert needing == [ROOT / "data" / "hub.py"]


RUNS_CODE = {"eval", "exec", "compile", "__import__", "torch.load", "torch.save", "torch.hub.load", "torch.jit.load"}
RUNS_CODE |= {"os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "pandas.read_pickle"}
RUNS_CODE |= {"importlib.import_module", "importlib.util.spec_from_file_location", "runpy.run_path", "ctypes.CDLL"}
# Of the pages' own blocks; of the project's exercises, and of a learner's answers to them; of the C library, by no
# name; of the comparisons at their old paths.
ALLOWED = {
    NAMESPACE: {"exec", "compile"},
    ROOT / "exercises" / "exam.py": {"importlib.import_module", "importlib.util.spec_from_file_location"},
    **{ROOT / "training" / file: {"ctypes.CDLL"} for file in ("files.py", "heap.py")},
    **{ROOT / "benchmarks" / old: {"runpy.run_path"} for old in ("compare.py", "equivalence.py")},
}


@pytest.mark.promise("P10")
def test_nothing_in_the_project_runs_what_a_file_holds():
    """No pickle, no eval, no shell, no import of a name that is not written in the source."""
    for path in SOURCES:
        if "tests" in path.parts:
            continue
        assert not imported(path) & {"pickle", "cPickle", "shelve", "marshal", "dill", "joblib", "cloudpickle"}, path
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        wrong = {ast.unparse(call.func) for call in calls} & RUNS_CODE
        assert wrong <= ALLOWED.get(path, set()), f"{path.relative_to(ROOT)} calls {', '.join(sorted(wrong))}"
        keywords = {word.arg for call in calls for word in call.keywords}
        assert not keywords & {"shell", "trust_remote_code", "allow_pickle", "weights_only"}, path


@pytest.mark.promise("P10")
def test_what_reads_strangers_files_runs_no_program():
    doors = [path for path in SOURCES if path.parent == ROOT]
    for path in doors + [p for room in (*ROOMS, ANATOMY) for p in (ROOT / room).rglob("*.py")]:
        assert not imported(path) & {"subprocess", "importlib", "runpy", "multiprocessing", "ftplib", "urllib"}, path
        assert "np.load" not in path.read_text(encoding="utf-8"), path  # harmless as scripts call it: without pickles


def test_the_loop_stays_under_240_lines_and_each_file_of_the_meeting_place_under_200():
    for path in [ROOT / "train.py", *(ROOT / "tasks").glob("*.py")]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= (240 if path.name == "train.py" else 200), f"{path.relative_to(ROOT)} has {lines} lines"


def test_one_place_puts_the_fast_form_in():
    """But for tests and the lanes that measure its parts one by one."""
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] in ("scripts", *(f"{door}.py" for door in DOORS)):
            text = path.read_text(encoding="utf-8")
            assert "gpt2.use_fast" not in text and "lora.use_fast" not in text and "(gpt2, lora" not in text, path


def test_files_stay_under_300_lines_and_functions_near_50():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 300, (
            f"{path.relative_to(ROOT)} has {len(text.splitlines())} lines: two ideas in it?"
        )
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                length = node.end_lineno - node.lineno + 1
                assert length <= 60, f"{path.relative_to(ROOT)}: {node.name} has {length} lines"


def test_the_whole_story_fits_in_700_lines():
    story = [ROOT / "gpt2" / "model.py", ROOT / "lora" / "layer.py", ROOT / "train.py"]
    assert sum(len(p.read_text(encoding="utf-8").splitlines()) for p in story) < 700


def test_there_is_no_utils_file():
    assert not [p for p in SOURCES if p.stem in ("utils", "helpers", "misc", "common")]
