"""What every test shares: quiet TensorFlow, fixed seeds, the real replays and golden files."""

import os

# Before anything imports TensorFlow: C++ log level, and no oneDNN reordering of float sums.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Two cores: a pool of threads per library and per pytest worker would only fight over them.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import gc
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import fixture_replays
import hypothesis
import numpy as np
import pytest

from exphil_tf.foundation.tensorflow_import import limit_threads

limit_threads(os.environ)  # as commands do, whose bits are compared with those of tests

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ROOT / "../shared"
"""Inputs too large or too odd for the repository: replays, cases, a corpus of real games."""

# Under nohup, or in the background of a script, signals are ignored, and children inherit that.
for _number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(_number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, and no deadline: a loaded machine is not a defect.
hypothesis.settings.register_profile("project", deadline=None, derandomize=True)
hypothesis.settings.load_profile("project")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the golden files anew from what the code gives now, instead of comparing",
    )


def pytest_collection_finish() -> None:
    """Spares the garbage collector what has been imported by now: a million objects that stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be renewed (`pytest --update-golden`)."""
    return bool(request.config.getoption("--update-golden"))


@pytest.fixture(scope="session")
def project_root() -> Path:
    return ROOT


def _beside(name: str) -> Path:
    folder = BESIDE / name
    if not folder.is_dir():
        pytest.skip(f"no folder ../shared/{name} beside the checkout")
    return folder.resolve()


@pytest.fixture(scope="session")
def replays_dir() -> Path:
    """The folder of odd replays beside the checkout; a test that asks for it skips without it."""
    return _beside("replays")


@pytest.fixture(scope="session")
def real_replay() -> Callable[[str], Path]:
    """Finds a real replay: `items`, `nana` and `old` in the repository, others beside the checkout.

    The names of the first stand in `fixture_replays.NAMES`; with others a test skips where they are
    not.
    """

    def find(name: str) -> Path:
        if name in fixture_replays.NAMES:
            return fixture_replays.fixture(name)
        return _beside("replays") / name

    return find


@pytest.fixture(scope="session")
def real_replays() -> list[Path]:
    """Every real replay there is: those in the repository, and the odd ones beside the checkout."""
    return [
        *map(fixture_replays.fixture, fixture_replays.NAMES),
        *sorted((BESIDE / "replays").resolve().rglob("*.slp")),
    ]


@pytest.fixture(scope="session")
def cases_dir() -> Path:
    """Small inputs that once went wrong, a folder each; skips without them."""
    return _beside("cases")


@pytest.fixture(scope="session")
def corpus_dir() -> Path:
    """Zips of some hundred real games; skips without them."""
    return _beside("corpus")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No EXPHIL_* variable of the developer's shell reaches a test."""
    for name in [name for name in os.environ if name.startswith("EXPHIL_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    """Same random numbers in every test, whatever ran before it in this process."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries draw from the legacy generator
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)
