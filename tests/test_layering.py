"""Who may import whom, and what `import fxengine` may load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "fxengine"
# The one law of the house: a room imports only rooms that stand before it here; a listing of the package shows the
# rooms in this order.
ORDER = (
    "backbones",
    "collect",
    "decode",
    "execute",
    "features",
    "heads",
    "neighbours",
    "pipeline",
    "probing",
    "reduce",
    "repair",
    "retrieval",
    "reviewing",
    "serving",
    "train",
    "ui",
    "bench",
)
GROUND = (
    "errors",
    "facts",
    "files",
    "cache",
    "storage",
    "store_files",
    "trust",
)  # imported from anywhere, each only by what stands after it
ROOT_FILES = ("__init__", "__main__")  # the public names, and `python -m fxengine`
HEAVY = {
    "av",
    "faiss",
    "keras",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "PIL",
    "sklearn",
    "tensorflow",
    "simplejpeg",
    "rich",
    "torch",
    "openvino",
    "starlette",
    "uvicorn",
    "ray",
    "obstore",
}
MODULES = sorted(PACKAGE.rglob("*.py")) + sorted((ROOT / "bench").rglob("*.py"))
FILES = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in MODULES}
# A PCA is a source of backbones, of a backbone that may come from any source: the one circle that there is.
RECURSION = ("fxengine.backbones.sources.from_pca", "fxengine.backbones")
# Names with an underscore that are not the file's own.
PRIVATE = {
    "fxengine/__main__.py": {
        "_run_exitfuncs"
    },  # what Python does itself before it takes itself down, which is left out
    "bench/pipeline.py": {"_options"},  # it times another setting of ONNX Runtime, which nobody may choose
    "fxengine/heads/knn.py": {"_fit_X", "_y"},  # scikit-learn says under no other name which rows it was fitted to
    "fxengine/ui/words.py": {"_actions"},  # argparse lists what a command takes under no other name
    "fxengine/train/children/keras_loop.py": {"_resource"},  # TensorFlow's raw operations take a writer's
}
PUBLIC = {"_exit", "_fields", "_replace"}  # of os and of named tuples: public, in spite of their names
# Who has a pool of threads, and for what: one function over blocks, and nothing that outlives it.
POOLS = {
    "fxengine/collect/bucket.py",  # lists the next ranges of keys while one is used
    "fxengine/collect/ranges.py",  # asks servers for the blocks of a container that follow
    "fxengine/collect/remote_list.py",  # asks servers for what a list names
    "fxengine/features/blocks.py",  # reads the next block while one is worked on
    "fxengine/heads/evaluate/scores.py",  # the area under the curve of every class
    "fxengine/heads/streams/closed_form.py",  # the model without each fold
    "fxengine/neighbours/lists.py",  # compares the rows of two lists at once
    "fxengine/pipeline/lookahead.py",  # lists the next unit of a run, and reads what may be renamed
    "fxengine/pipeline/threads.py",  # a net on its streams
    "fxengine/retrieval/copies/likely.py",
    "fxengine/retrieval/copies/looks.py",  # decodes pictures that are compared
    "fxengine/retrieval/stars.py",  # compares pictures on all cores
    "fxengine/store_files.py",  # asks a bucket for several parts of a store at once
    "fxengine/train/children/torch_loop.py",  # makes the next batch while one is trained on
    "fxengine/train/data.py",  # decodes the pictures of a training
}


def imports_of(path: Path) -> set[str]:
    """Return what a file takes from the package and from bench.

    That is what it imports, inside functions, too, and every module that a string of it names: those are imported when
    they are asked for. A string that ends in a dot, as an f-string's first part does, names all modules below.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            text = node.value
            found |= {name for name in FILES if name == text or (text.endswith(".") and name.startswith(text))}
    return {name for name in found if name.split(".")[0] in {"fxengine", "bench"}}


def room_of(name: str) -> str:
    """Return the room of a module or name, "" for the public names."""
    first, *rest = name.split(".")
    if first == "bench":
        return first
    return rest[0] if rest and rest[0] in {*ORDER, *GROUND} else ""


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_rooms_above_it(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    own = parts[0] if parts[0] == "bench" else parts[1]
    if own in ROOT_FILES:
        return
    above = (*GROUND, *ORDER)[: (*GROUND, *ORDER).index(own)]
    for name in imports_of(path):
        room = room_of(name)
        if room == own or (own in ("ui", "bench") and room == ""):
            continue  # people's side uses the public names, too
        assert room in above, f"{own} imports {name}"


def test_the_listing_shows_the_order() -> None:
    rooms = [path.name for path in sorted(PACKAGE.iterdir()) if path.is_dir() and path.name != "__pycache__"]
    assert [*rooms, "bench"] == list(ORDER)
    files = {path.stem for path in PACKAGE.glob("*.py")}
    assert files == {*GROUND, *ROOT_FILES}


def test_no_room_is_called_like_a_public_function() -> None:
    import fxengine

    assert not set(ORDER) & set(fxengine.__all__)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name: _modules(imports_of(path)) - {name, "fxengine"} for name, path in FILES.items()}
    graph[RECURSION[0]].remove(RECURSION[1])
    finished: set[str] = set()

    def visit(name: str, on_the_way: tuple[str, ...]) -> None:
        assert name not in on_the_way, " -> ".join((*on_the_way[on_the_way.index(name) :], name))
        if name not in finished:
            for other in sorted(graph[name]):
                visit(other, (*on_the_way, name))
            finished.add(name)

    for name in sorted(graph):
        visit(name, ())


def _modules(names: set[str]) -> set[str]:
    """Return the modules that names were taken from."""
    return {name if name in FILES else name.rpartition(".")[0] for name in names} & FILES.keys()


def test_modules_that_are_imported_by_a_string_count_as_imported() -> None:
    decoders = imports_of(FILES["fxengine.decode.picture"])
    assert {"fxengine.decode.picture.pillow", "fxengine.decode.picture.turbojpeg"} <= decoders
    assert {"fxengine.ui.commands.extract", "fxengine.ui.commands.info"} <= imports_of(FILES["fxengine.ui.commands"])


def test_no_private_name_is_used_across_modules() -> None:
    for path in MODULES:
        for name in imports_of(path):
            last = name.rpartition(".")[2]
            assert not last.startswith("_") or last.startswith("__"), f"{path.relative_to(ROOT)} imports {name}"


def test_no_private_attribute_of_another_module_is_used() -> None:
    used = {str(path.relative_to(ROOT)): _foreign(ast.parse(path.read_text())) for path in MODULES}
    assert {path: names for path, names in used.items() if names} == PRIVATE


def _foreign(tree: ast.Module) -> set[str]:
    """Return the names with an underscore that a file takes of something and does not define itself."""
    own, used = set(PUBLIC), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            own.add(node.attr)
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            used.add(node.attr)
    return used - own


def test_only_the_pipeline_starts_threads() -> None:
    # Of the others one renews a lease, which what writes may be too busy for, and one only waits for signals.
    others = {"fxengine/features/lease.py", "fxengine/ui/stopping.py"}
    assert _files_with("Thread(") == {"fxengine/pipeline/threads.py", *others}
    assert _files_with("ThreadPoolExecutor(") == POOLS


def _files_with(call: str) -> set[str]:
    word = re.compile(rf"\b{re.escape(call)}")
    return {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py") if word.search(path.read_text())}


def loaded_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_import_loads_nothing_heavy() -> None:
    assert not HEAVY & loaded_after("import fxengine")


def test_help_loads_only_the_command_line() -> None:
    code = "from fxengine.ui.cli import build_parser; build_parser().format_help()"
    assert not (HEAVY | {"numpy", "pyarrow"}) & loaded_after(code)
