"""A fake Dolphin and a tiny exported policy to play in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_dolphin import make_executable

from exphil_tf.agents.dolphin import DolphinOptions


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an exported LSTM of some thousand weights."""
    from exported_policies import export, make_policy  # imports TensorFlow

    from exphil_tf.exporting import publishing

    folder = tmp_path_factory.mktemp("exported") / "bundle"
    publishing.publish(export(make_policy("lstm", seed=4), folder=folder), {"forms": {}})
    return folder


@pytest.fixture
def iso(tmp_path: Path) -> Path:
    """What begins as the game's disc does."""
    path = tmp_path / "melee.iso"
    path.write_bytes(b"GALE01\x00\x02" + bytes(1 << 10))
    return path


@pytest.fixture
def fake(
    tmp_path: Path, iso: Path, real_replay: Callable[[str], Path]
) -> Callable[..., DolphinOptions]:
    """Options that start a fake Dolphin of a plan; the replay `items` goes by unless told."""

    def options(
        *, is_blocking: bool = True, hang_timeout_s: float = 20.0, **plan
    ) -> DolphinOptions:
        plan = {"replay": real_replay("items"), "human_ports": [2], **plan}
        plan = {name: value for name, value in plan.items() if value is not None}
        return DolphinOptions(
            make_executable(tmp_path / "dolphin", **plan),
            iso,
            tmp_path / "replays",
            is_blocking=is_blocking,
            speed=0 if is_blocking else 1.0,
            hang_timeout_s=hang_timeout_s,
        )

    return options
