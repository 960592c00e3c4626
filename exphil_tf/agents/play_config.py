"""What play asks for: who plays whom, where, how, and what is kept of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from exphil_tf.agents.agent import AgentOptions, Decode
from exphil_tf.foundation.errors import UserError
from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.melee.enums import character_from_name, stage_from_name
from exphil_tf.process.exit_codes import EXIT_NO_INPUT
from exphil_tf.sim.opponents import script_name

_CPU = re.compile(r"cpu([1-9])")
PORTS = (1, 2, 3, 4)


def required(name: str, path: Path | None) -> Path:
    """The path of an option that something has to be at.

    Raises: UserError: if none was given, or nothing is there (66).
    """
    if path is None:
        raise UserError(f"--{name}: want a path. Received: nothing", "See docs/play.md.")
    if not path.exists():
        raise UserError(
            f"--{name}: {path}: want something that is there. Received: nothing",
            "Check the path; play --doctor looks at all of them.",
            exit_code=EXIT_NO_INPUT,
        )
    return path


@dataclass(frozen=True)
class PlayConfig:
    """Plays a policy in Slippi Dolphin or the simulator; `--doctor` only looks if Dolphin works."""

    KIND: ClassVar = Kind.RESULT

    sim: bool = False
    """Play in the simulator, many games at once, instead of Dolphin: no emulator, no ISO."""
    policy: Path | None = None
    """Folder of an exported policy (ONNX Runtime), or of a run (TensorFlow, slower)."""
    dolphin: Path | None = None
    """Slippi Dolphin's executable, or the folder that holds it (its name has netplay in it)."""
    iso: Path | None = None
    """Melee 1.02 (NTSC)."""
    character: str = "mewtwo"
    """Of the policy."""
    stage: str = "final_destination"
    """A legal one; of a netplay game the other side may choose."""
    port: int = 1
    """Of the policy, 1 to 4."""
    opponent_port: int = 2
    """Of whoever plays against it."""
    opponent: str = "human"
    """human, cpu1 to cpu9, the folder of a second policy, or with --sim a script, as script:NAME or
    cpu-like:NAME: stander, walker, jumper, turtle, camper, spacer, aggressor, punisher."""
    opponent_character: str = "fox"
    """Of a CPU or a second policy."""
    frame_delay: int | None = None
    """Frames between a state and the input that answers it, beyond 1; none means what the policy
    was made for (0 of one that was trained without a delay)."""
    action_repeat: int = 1
    """Frames that an action is held."""
    temperature: float = 1.0
    """Of sampling; 0 takes the likeliest."""
    decode: Decode = "sampled"
    """mixed takes the likelier state of each button and samples sticks and shoulder."""
    deterministic: bool = False
    """Short for --decode deterministic."""
    mirrored: bool = False
    """Show the policy the game in a mirror, and reflect what it does."""
    player_style: str | None = None
    """Whose style it plays: connect code, netplay name, tag or pseudonym."""
    desired_return: float | None = None
    """Return of the coming second that it is asked for, in percent, a stock being 100."""
    asynchronous: bool = False
    """--async: frames never wait longer than 8 ms for the policy; a late answer is replaced by the
    last one, and after 2 frames by the untouched controller."""
    on_game_end: Literal["restart", "stop"] = "restart"
    """Play on, or end."""
    games: int = 0
    """Games to play; 0 for no end."""
    report: Path | None = None
    """Folder for games.jsonl (a record a game) and summary.json (totals); added to."""
    mirror_ports: bool = False
    """The two players exchange ports after each game; both are ours."""
    replay_dir: Path = Path("played")
    """Where replays are saved."""
    speed: float = 1.0
    """Of the game; 0 as fast as it goes (mainline Dolphin)."""
    headless: bool = False
    """No window and no sound (mainline Dolphin)."""
    fast_forward: bool = False
    """Without rendering, in a build made for training (ExiAI)."""
    connect_code: str | None = None
    """Slippi Direct: whom to play, such as ABCD#123."""
    user_json: Path | None = None
    """Slippi Direct: the account's user.json, which is copied."""
    online_delay: int = 2
    """Slippi Direct: frames that the connection itself delays inputs; the agent keeps the rest."""
    hang_timeout: float = 20.0
    """Seconds without a frame after which Dolphin counts as hung."""
    restarts: int = 0
    """How often Dolphin is started again after it died or hung."""
    seed: int = 0
    """Decides the drawn actions."""
    threads: int = 1
    """That the policy's step may use."""
    doctor: bool = option(False, kind=Kind.START)
    """Check executable, ISO, folders, network and pipes, say what to fix, and end."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the option that is out of range."""
        character_from_name(self.character)
        character_from_name(self.opponent_character)
        stage_from_name(self.stage)
        lows = {"games": 0, "restarts": 0, "threads": 1, "online_delay": 0, "seed": 0}
        for name, low in lows.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name}: want at least {low}. Received: {getattr(self, name)}")
        if not self.hang_timeout > 0 or not self.speed >= 0:
            raise ValueError(
                "hang_timeout, speed: want above 0, at least 0. "
                f"Received: {self.hang_timeout:g}, {self.speed:g}"
            )
        self._check_ports()
        self._check_ways()
        self._check_sim()
        AgentOptions(temperature=self.temperature, action_repeat=self.action_repeat)

    def _check_ports(self) -> None:
        ports = (self.port, self.opponent_port)
        if not set(ports) <= set(PORTS) or ports[0] == ports[1]:
            raise ValueError(
                f"port, opponent_port: want two of {list(PORTS)}. Received: {list(ports)}"
            )
        if self.mirror_ports and not (self.has_second_policy or self.script):
            raise ValueError(
                f"mirror_ports: want a second policy as --opponent. Received: {self.opponent}"
            )

    def _check_ways(self) -> None:
        if self.deterministic and self.decode == "mixed":
            raise ValueError("deterministic, decode: want one of them. Received: both")
        if self.connect_code is not None and self.opponent != "human":
            raise ValueError(
                f"connect_code: want --opponent human. Received: --opponent {self.opponent}"
            )
        if self.fast_forward and self.asynchronous:
            raise ValueError("fast_forward: want frames that wait. Received: --async")

    def _check_sim(self) -> None:
        if not self.sim:
            if self.script:
                raise ValueError(f"opponent: want --sim with a script. Received: {self.opponent}")
            return
        if not (self.has_second_policy or self.script):
            raise ValueError(
                "opponent: want script:NAME or the folder of a second policy with --sim. "
                f"Received: {self.opponent}"
            )
        if set((self.port, self.opponent_port)) != {1, 2}:
            raise ValueError(
                "port, opponent_port: want 1 and 2 with --sim. "
                f"Received: {self.port}, {self.opponent_port}"
            )
        if self.games < 1 or self.asynchronous or self.connect_code is not None:
            raise ValueError("sim: want --games, and neither --async nor --connect-code")

    @property
    def script(self) -> str:
        """Name of the script that is the opponent; "" for another."""
        return script_name(self.opponent) or ""

    @property
    def cpu_level(self) -> int:
        """Of a computer opponent; 0 of another."""
        found = _CPU.fullmatch(self.opponent.lower())
        return int(found[1]) if found else 0

    @property
    def has_second_policy(self) -> bool:
        """Whether the opponent is a policy too."""
        return not (self.cpu_level or self.script or self.opponent.lower() == "human")

    @property
    def waits(self) -> bool:
        """Whether Dolphin waits for each answer; a connection's other side never would."""
        return not self.asynchronous and self.connect_code is None

    @property
    def decoding(self) -> Decode:
        """How answers are drawn."""
        return "deterministic" if self.deterministic else self.decode

    def agent_options(self, delay: int) -> AgentOptions:
        """How an agent plays at a delay, of which a connection may keep a part."""
        elsewhere = 0 if self.connect_code is None else self.online_delay
        if delay < elsewhere:
            raise ValueError(
                f"online_delay: want at most the policy's delay, {delay} frames. "
                f"Received: {elsewhere}"
            )
        return AgentOptions(
            delay=delay,
            queued_frames=delay - elsewhere,
            temperature=self.temperature,
            decode=self.decoding,
            action_repeat=self.action_repeat,
            is_mirrored=self.mirrored,
        )
