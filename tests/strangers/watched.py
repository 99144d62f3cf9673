"""Started by test_security.py in a process of its own: loads hostile files and prints what the process did meanwhile.

    python tests/strangers/watched.py WORK

WORK holds `good/`, an adapter whose loading shows what a load asks of the system, `hostile/*`, and `out/`, below which
alone it may write.
"""

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[0] = str(ROOT)
WATCHED = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty"}
WATCHED |= {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "pickle.find_class"}
WATCHED |= {"os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "shutil.rmtree"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main(work: Path) -> None:
    import generate
    import infer
    import train
    from training.errors import run_door

    def doors(directory: Path):
        common = {"device": "cpu"}
        yield infer.main, infer.InferConfig(adapter=str(directory), texts=("x",), **common)
        yield infer.main, infer.InferConfig(adapter=str(directory), sample=2, **common)
        yield generate.main, generate.GenerateConfig(adapter=str(directory), max_new_tokens=2, **common)
        out = str(work / "out" / directory.name)
        yield train.main, train.TrainConfig(model=str(directory), max_steps=1, output_dir=out, **common)

    def load(directory: Path) -> list[int]:
        return [run_door(lambda main=main, config=config: main(config)) for main, config in doors(directory)]

    load(work / "good")  # what is imported late is imported now
    with contextlib.suppress(ImportError):  # where trio is installed, importing datasets asks ldconfig for a library
        importlib.import_module("datasets")
    seen: list[str] = []

    def note(event: str, arguments: tuple) -> None:
        inside = arguments and str(arguments[0]).startswith(str(work / "out"))
        if event in WATCHED and not inside:
            seen.append(f"{event} {arguments!r}"[:300])
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES and not inside:
            seen.append(f"open to write {arguments!r}"[:300])

    sys.addaudithook(note)
    codes = {directory.name: load(directory) for directory in sorted((work / "hostile").iterdir())}
    strange = [m.__file__ for m in list(sys.modules.values()) if str(getattr(m, "__file__", "")).startswith(str(work))]
    print(json.dumps({"codes": codes, "seen": seen, "imported": strange, "path": sys.path}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
