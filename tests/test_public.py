"""The public names, what importing them costs, and who may import whom."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import resnets

ROOT = Path(resnets.__file__).parent
PUBLIC = [
    "ResNetClassifier",
    "ResNetSpec",
    "UserError",
    "__version__",
    "create_model",
    "list_models",
    "load",
    "resume",
    "train",
]

# The floors, from the ground up: a module imports lower floors and its own folder only. The folders
# of one floor do not know each other, but all of a floor knows its top-level modules.
FLOORS: tuple[tuple[str, ...], ...] = (
    (
        *("errors", "extras", "files", "timings", "console", "version", "checks", "durations"),
        *("llvm", "native"),
        *("layers", "axes", "plan", "unroll", "spec", "zoo", "diagram", "pages"),
    ),
    ("nn", "keras"),
    ("data", "weights"),
    ("training", "evaluate", "audit"),
    ("tasks", "engines"),
    ("predict", "novelty"),
    ("judging",),
    (
        *("quantization", "choices", "decoding", "execution", "experiment", "estimator"),
        *("continuing", "results", "rows", "display", "explain", "labelling"),
    ),
    ("cli",),
    ("__init__", "__main__"),
)
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}
# A model file carries its preprocessing; `resnets.keras.from_model` reads model files, and
# `convert --to keras` builds Keras models.
BESIDE = {("weights", "data"), ("keras", "weights")}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {module_name(file): file for file in sorted(ROOT.rglob("*.py"))}


def imports(file: Path, nested: bool = True) -> set[str]:
    """Return the modules of the package that a file imports, with or without those in functions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if nested else tree.body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {_module(name) for name in names if name.split(".")[0] == "resnets"}
    return found


def _module(name: str) -> str:
    """Cut a dotted name down to the module that it lies in."""
    parts = name.split(".")[1:]
    while parts and ".".join(parts) not in MODULES:
        parts.pop()
    return ".".join(parts) or "__init__"


def part(module: str) -> str:
    return module.split(".")[0]


# -- names ----------------------------------------------------------------------------------------


def test_the_public_names_are_these() -> None:
    assert resnets.__all__ == PUBLIC
    assert dir(resnets) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    value = getattr(resnets, name)
    assert value.__doc__
    if name != "__version__":
        assert value.__module__.startswith("resnets.")
        assert value.__name__ == name


# Python sets an imported submodule as an attribute of its package, so a public function may not
# share its name with one: whatever is imported first, the function must stay.
@pytest.mark.parametrize("first", ["resnets.load", "import resnets.training.loop"])
def test_no_module_hides_the_function_train(first: str) -> None:
    loaded_by(
        f"import resnets\n{first}\n"
        "from resnets.experiment import train\n"
        "assert resnets.train is resnets.train is train\n"
        "from resnets.training import loop\n"
        "assert loop.__name__ == 'resnets.training.loop'\n"
    )


def test_from_resnets_import_everything() -> None:
    names: dict[str, object] = {}
    exec("from resnets import *", names)
    assert set(PUBLIC) <= set(names)


def test_other_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="module 'resnets' has no attribute 'Trainer'"):
        _ = resnets.Trainer


# -- what an import loads -------------------------------------------------------------------------


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT.parent)}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


HEAVY = {"torch", "torchvision", "numpy", "PIL", "pyarrow", "sklearn", "pandas", "matplotlib"}
HEAVY |= {"keras", "tensorflow", "jax", "h5py", "timm", "transformers"}
HEAVY |= {"cleanlab", "onnx", "onnxruntime", "openvino", "nncf"}


@pytest.mark.parametrize(
    "statement",
    [
        "import resnets",
        "import resnets.cli",
        "import resnets; resnets.list_models('*'); resnets.ResNetSpec; resnets.UserError",
        "import resnets; dir(resnets); resnets.__version__",
    ],
)
def test_light_imports_load_nothing_heavy(statement: str) -> None:
    assert not loaded_by(statement) & HEAVY


def test_the_family_needs_the_standard_library_only() -> None:
    bare = loaded_by("pass")
    added = {name.split(".")[0] for name in loaded_by("import resnets.zoo") - bare}
    assert added <= set(sys.stdlib_module_names) | {"resnets"}


def test_networks_load_neither_data_nor_training() -> None:
    loaded = {name for name in loaded_by("import resnets.nn") if name.startswith("resnets")}
    family = {"checks", "layers", "plan", "unroll", "spec", "zoo"}
    allowed = family | {"resnets", "nn", "errors", "version", "llvm"}
    assert {name.removeprefix("resnets.").split(".")[0] for name in loaded} <= allowed


def test_reading_a_model_loads_no_compiler() -> None:
    # It builds on the meta device, where to draw weights would load it: a second for nothing.
    loaded = loaded_by(
        "import torch\nfrom resnets.nn import ResNet\nfrom resnets.zoo import get_spec\n"
        "with torch.device('meta'): ResNet(get_spec('resnet50'))"
    )
    assert "torch._dynamo.eval_frame" not in loaded


# -- the floors -----------------------------------------------------------------------------------


def test_every_part_has_a_floor() -> None:
    assert {part(module) for module in MODULES} == set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_lower_floors_and_its_own_folder_only(module: str) -> None:
    here = part(module)
    beside = {name for name in FLOORS[FLOOR[here]] if not (ROOT / name).is_dir()}
    for imported in imports(MODULES[module]):
        there = part(imported)
        assert (
            there == here
            or FLOOR[there] < FLOOR[here]
            or (here, there) in BESIDE
            or there in beside
        ), f"{module} (floor {FLOOR[here]}) imports {imported} (floor {FLOOR[there]})"


def test_no_module_imports_itself_through_others() -> None:
    graph = {module: imports(file, nested=False) - {module} for module, file in MODULES.items()}
    assert set(TopologicalSorter(graph).static_order()) == set(MODULES)  # or it raises CycleError


def test_nothing_unpickles() -> None:
    safe = {  # the setting that keeps a call from running code, its value, and the one assumed
        "torch.load": ("weights_only", "True", "False"),
        "np.load": ("allow_pickle", "False", "False"),
        "numpy.load": ("allow_pickle", "False", "False"),
    }
    for name, file in MODULES.items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in {"pickle.load", "pickle.loads", "joblib.load"}, name
            if called in safe:
                setting, expected, default = safe[called]
                settings = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert settings.get(setting, default) == expected, name
