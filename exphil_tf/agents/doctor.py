"""Whether play would work here: each thing that it needs, and what to do where it is missing."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from hashlib import md5
from pathlib import Path

from exphil_tf.agents.play_config import PlayConfig
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.checkup import Check

_GAME_ID, _REVISION = b"GALE01", 2
_REVISION_PLACE = 7
_MD5 = "0e63d4223b01d9aba596259dc155a174"
"""Of the disc image of Melee 1.02 that Slippi asks for."""
_ALTERED = "Changed or compressed images may desynchronise netplay."
_COMPRESSED = (b"CISO", b"\x01\xc0\x0b\xb1", b"RVZ\x01", b"WIA\x01")
"""How compressed images begin."""
_CHUNK = 1 << 20
_VERSION_S = 30.0


def examine(config: PlayConfig, env: Mapping[str, str]) -> list[Check]:
    """Looks at all that play needs; starts no game and writes nothing that stays.

    Args:
      config: of play.
      env: the environment.
    """
    checks = [
        _program(config.dolphin),
        _iso(config.iso),
        _policy(config.policy),
        _replay_dir(config.replay_dir),
        _pipes(),
        _port(),
        _library(),
        _display(config, env),
    ]
    if config.dolphin is not None and config.dolphin.suffix == ".AppImage":
        checks.append(_fuse())
    if config.connect_code is not None:
        checks.append(_account(config.user_json))
    return checks


def _program(path: Path | None) -> Check:
    name, fix = "executable", "Give Slippi Dolphin's AppImage or folder with --dolphin."
    if path is None:
        return Check(name, "fail", "none given", fix)
    from exphil_tf.agents.dolphin import executable

    try:
        program = executable(path)
    except UserError:
        return Check(name, "fail", f"{path}: no Dolphin there", fix)
    if not os.access(program, os.X_OK):
        return Check(name, "fail", f"{program}: not executable", f"chmod +x {program}")
    return _version(program)


def _version(program: Path) -> Check:
    try:
        done = subprocess.run(
            [str(program), "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        fix = "An AppImage needs FUSE; or unpack it: --appimage-extract."
        return Check("executable", "fail", f"{program}: does not run ({error!s:.80})", fix)
    said = (done.stdout.strip() or done.stderr.strip()).splitlines()
    is_known = done.returncode in (0, 1, 255) and bool(said)
    return Check(
        "executable",
        "ok" if is_known else "fail",
        f"{program}: {said[0] if said else f'exit code {done.returncode}'}",
        "" if is_known else "It does not answer as Slippi Dolphin; install it anew.",
    )


def _iso(path: Path | None) -> Check:
    name, fix = "disc image", "Give an image of your own Melee 1.02 (NTSC) disc with --iso."
    if path is None or not path.is_file():
        return Check(name, "fail", f"{path}: no file", fix)
    digest = md5(usedforsecurity=False)
    with path.open("rb") as file:
        head = file.read(_CHUNK)
        if head.startswith(_COMPRESSED):
            text = f"{path}: compressed, so what is in it was not looked at"
            return Check(name, "note", text, _ALTERED)
        if not head.startswith(_GAME_ID) or head[_REVISION_PLACE] != _REVISION:
            return Check(
                name,
                "fail",
                f"{path}: {head[:6]!r} revision {head[7] if len(head) > 7 else '-'}, "
                f"want {_GAME_ID!r} revision {_REVISION}",
                fix,
            )
        while head:
            digest.update(head)
            head = file.read(_CHUNK)
    if digest.hexdigest() != _MD5:
        text = f"{path}: Melee 1.02, but not the plain image (md5 {digest.hexdigest()})"
        return Check(name, "note", text, _ALTERED)
    return Check(name, "ok", f"{path}: Melee 1.02")


def _policy(path: Path | None) -> Check:
    if path is None:
        return Check("policy", "note", "none given", "Give one with --policy.")
    from exphil_tf.agents.policy_source import open_policy
    from exphil_tf.inference.session import MODEL

    if not (path / MODEL).is_file():
        found = f"{path}: not exported; plays slower, with TensorFlow"
        return Check("policy", "note", found, "python -m exphil_tf.export RUN --output BUNDLE")
    try:
        source = open_policy(path)
    except UserError as error:
        return Check("policy", "fail", error.message, error.next_step)
    delay = source.conditions.delay
    return Check("policy", "ok", f"{path}: {source.facts['precision']}, {delay.frames} frames")


def _replay_dir(path: Path) -> Check:
    there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=there):
            pass
    except OSError as error:
        fix = "Give a folder that can be written with --replay-dir."
        return Check("replay folder", "fail", f"{path}: {error.strerror}", fix)
    free = shutil.disk_usage(there).free >> 20
    status = "ok" if free > 1024 else "note"
    fix = "" if status == "ok" else "A game takes 1 to 5 MB."
    return Check("replay folder", status, f"{path}: {free:,} MB free", fix)


def _pipes() -> Check:
    with tempfile.TemporaryDirectory(prefix="doctor-") as folder:
        try:
            os.mkfifo(Path(folder) / "pipe")
        except OSError as error:
            fix = "Set TMPDIR to a folder on a local file system."
            return Check("controller pipes", "fail", f"{folder}: {error.strerror}", fix)
    return Check("controller pipes", "ok", f"named pipes work in {Path(folder).parent}")


def _port() -> Check:
    from exphil_tf.agents.dolphin import free_port

    try:
        return Check("network", "ok", f"UDP port {free_port()} of this machine is free")
    except OSError as error:
        fix = "Play talks to Dolphin over 127.0.0.1; let it."
        return Check("network", "fail", f"127.0.0.1: {error.strerror}", fix)


def _library() -> Check:
    missing = [name for name in ("melee", "enet") if importlib.util.find_spec(name) is None]
    if missing:
        return Check("libraries", "fail", f"no {', '.join(missing)}", "pip install melee")
    return Check("libraries", "ok", "libmelee and ENet are installed")


def _display(config: PlayConfig, env: Mapping[str, str]) -> Check:
    name = "display"
    if config.headless or config.fast_forward:
        return Check(name, "ok", "not needed")
    if env.get("WAYLAND_DISPLAY") and env.get("QT_QPA_PLATFORM") != "xcb":
        return Check(
            name,
            "note",
            "Wayland: Dolphin's window may stay black or take no focus",
            "Start play with QT_QPA_PLATFORM=xcb in the environment.",
        )
    if not env.get("DISPLAY") and not env.get("WAYLAND_DISPLAY"):
        fix = "Run it on a desktop, or with --headless."
        return Check(name, "fail", "no DISPLAY and no WAYLAND_DISPLAY", fix)
    return Check(name, "ok", env.get("DISPLAY") or env["WAYLAND_DISPLAY"])


def _fuse() -> Check:
    found = Path("/dev/fuse").exists()
    fix = "" if found else "Unpack the AppImage: --appimage-extract, and give what comes out."
    return Check("FUSE", "ok" if found else "fail", "there" if found else "missing", fix)


def _account(path: Path | None) -> Check:
    fix = "Log in with Slippi Launcher, then give its user.json with --user-json."
    if path is None or not path.is_file():
        return Check("account", "fail", f"{path}: no file", fix)
    with contextlib.suppress(OSError):
        if '"connectCode"' in path.read_text():
            return Check("account", "ok", f"{path}")
    return Check("account", "fail", f"{path}: no connectCode in it", fix)
