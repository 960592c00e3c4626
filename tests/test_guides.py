"""README and guide name only what exists: files, commands, options, presets, exit codes."""

import re
from pathlib import Path

import pytest

from exphil_tf.foundation.config import KNOWN_OPTIONS, preset_names
from exphil_tf.foundation.former_options import FORMER
from exphil_tf.process import exit_codes

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "docs/guide.md",
    "docs/coming-from-exphil.md",
    "docs/devices.md",
    "docs/distillation.md",
    "docs/export.md",
    "docs/latency.md",
    "docs/play.md",
    "docs/cloud.md",
    "docs/storage.md",
    "docs/troubleshooting.md",
    "CHANGELOG.md",
)
OTHERS_FLAGS = {"logdir", "require_hashes", "update_golden"} | {
    "appimage_extract", "cmd", "realtime", "delay",
    "runner", "dask_client_address", "project", "region", "temp_location",
    "file", "tag", "target", "rm", "gpus", "user", "stop_timeout", "env", "follow",
    "help", "local", "snapshot", "sdk_container_image", "sdk_location", "template_location",
    "flink_master", "environment_type", "environment_config",
}  # fmt: skip
"""Flags of TensorBoard, pip, our tests, AppImages, umi-conform, Beam, Docker and our scripts."""


@pytest.fixture(params=PAGES)
def page(request) -> tuple[Path, str]:
    path = ROOT / request.param
    return path, path.read_text(encoding="utf-8")


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_somewhere(page):
    path, text = page
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_commands_exist(page):
    for name in re.findall(r"python -m exphil_tf\.(\w+)", page[1]):
        module = ROOT / "exphil_tf" / f"{name}.py"
        assert module.is_file() or (module.with_suffix("") / "__main__.py").is_file(), name


def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    for name in re.findall(r"(?:^|`)make (\w+)", page[1], flags=re.MULTILINE):
        assert re.search(rf"^{name}:", makefile, flags=re.MULTILINE), name


def test_options_exist(page):
    known = set(KNOWN_OPTIONS.read_text().split()) | OTHERS_FLAGS
    known |= {"config", "preset", "checkpoint", *FORMER}
    for flag in re.findall(r"(?<![\w-])--([a-z][\w-]*)", page[1]):
        name = flag.replace("-", "_")
        assert name in known or name.removeprefix("no_") in known, flag


def test_table_of_commands_is_complete():
    text = (ROOT / "README.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)
    made_for_make = {"docs", "quickstart"}
    commands = {
        path.stem
        for path in (ROOT / "exphil_tf").glob("[!_]*.py")
        if 'if __name__ == "__main__":' in path.read_text()
    } | {path.parent.name for path in (ROOT / "exphil_tf").glob("*/__main__.py")}
    assert set(listed) == commands - made_for_make


def test_presets():
    guide = (ROOT / "docs/guide.md").read_text()
    table = guide[guide.index("| preset | for |") : guide.index("**Backbones:**")]
    named = {word for word in re.findall(r"`(\w+)`", table) if word in preset_names()}
    assert named == set(preset_names())
    count = re.search(r"(\d+) presets", (ROOT / "README.md").read_text())
    assert count is not None
    assert int(count.group(1)) == len(preset_names())


def test_exit_codes():
    guide = (ROOT / "docs/guide.md").read_text()
    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", guide, flags=re.MULTILINE)}
    codes = {value for name, value in vars(exit_codes).items() if name.startswith("EXIT_")}
    assert listed == codes
