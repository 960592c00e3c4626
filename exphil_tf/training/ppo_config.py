"""Options of learning by playing; free of TensorFlow, like all it is composed of."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from exphil_tf.features.delay import MAX_DELAY
from exphil_tf.foundation.former_options import without_suffix
from exphil_tf.foundation.kinds import Kind, option
from exphil_tf.melee.enums import character_from_name, stage_from_name
from exphil_tf.melee.types import TIME_LIMIT_FRAMES
from exphil_tf.rewards.playing import weights_of
from exphil_tf.sim.opponents import SCRIPTS
from exphil_tf.training.cloud_config import CloudConfig
from exphil_tf.training.run_config import OptimizerConfig, RunConfig, ScheduleConfig

Algorithm = Literal["ppo", "vtrace"]
MatchmakingRule = Literal["even", "hard", "close"]
GameType = Literal["sim", "mock", "dolphin", "libmelee"]
CPU = re.compile(r"cpu([1-9])")
SCRIPT = "script:"
SELF = "self"
START = "start"
"""The policy that the run starts from."""
EVERY_SCRIPT = "scripts"
SNAPSHOT = "snapshot:"
"""Before the number of a seat that the run's own past plays."""


def is_of_the_game(opponent: str) -> bool:
    """Whether the game itself plays an opponent: a script, or Dolphin's computer."""
    return opponent.startswith(SCRIPT) or CPU.fullmatch(opponent) is not None


@dataclass(frozen=True)
class GameConfig:
    """What is played: which game, who, where, how many at once."""

    KIND: ClassVar = Kind.TRAINING

    game_type: GameType = "sim"
    """The simulator (--sim), whose name in ExPhil is mock (--mock); dolphin and libmelee are Slippi
    Dolphin."""
    dolphin: Path | None = option(None, kind=Kind.SOURCE)
    """Slippi Dolphin's executable, or the folder that holds it; play there."""
    iso: Path | None = option(None, kind=Kind.SOURCE)
    """Melee 1.02 (NTSC), for Dolphin."""
    headless: bool = option(True, kind=Kind.WORK)
    """No window and no sound (mainline Dolphin); --no-headless shows the games."""
    fast_forward: bool = option(False, kind=Kind.WORK)
    """Without rendering, in a Dolphin made for training (ExiAI)."""
    character: str = "mewtwo"
    """Of the policy that learns."""
    opponent_character: str | None = None
    """Of the opponent; none means the same."""
    stage: str = "final_destination"
    """A legal one."""
    num_games: int = 16
    """Matches that are stepped together, in Dolphin an emulator each."""
    max_episode_frames: int = TIME_LIMIT_FRAMES
    """Frames after which a game is broken off, which counts as no end of it; the simulator's alone,
    as games in Dolphin end by their own clock."""
    frame_delay: int | None = None
    """Frames between a state and the input that answers it, beyond 1; none means what the policy
    was trained for."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        character_from_name(self.character)
        character_from_name(self.opponent_character or self.character)
        stage_from_name(self.stage)
        for name in ("num_games", "max_episode_frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: want at least 1. Received: {getattr(self, name)}")
        if self.frame_delay is not None and not 0 <= self.frame_delay <= MAX_DELAY:
            raise ValueError(f"frame_delay: want 0 to {MAX_DELAY}. Received: {self.frame_delay}")

    @property
    def is_dolphin(self) -> bool:
        """Whether Dolphin is to be played."""
        is_pointed_at = self.dolphin is not None or self.iso is not None
        return is_pointed_at or self.game_type in ("dolphin", "libmelee")


@dataclass(frozen=True)
class RewardConfig:
    """What is rewarded."""

    KIND: ClassVar = Kind.TRAINING

    rewards: tuple[str, ...] = ("standard",)
    """Groups of reward terms: standard, shaped, pressure, mewtwo, gameandwatch, link, ganondorf,
    zelda."""
    reward_weights: tuple[str, ...] = ()
    """Weights of single terms instead of their own, such as damage=0.02; 0 drops a term."""
    late_reward_weights: tuple[str, ...] = ()
    """Weights of single terms in the last third of the updates, instead of those before."""
    gamma: float = 0.99
    """What a reward counts a frame later."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma: want 0 < x <= 1. Received: {self.gamma}")
        self.weights()
        self.late_weights()

    def weights(self) -> dict[str, float]:
        """Weight by term."""
        return weights_of(self.rewards, dict(_weight(text) for text in self.reward_weights))

    def late_weights(self) -> dict[str, float] | None:
        """Those of the last third; None where nothing changes."""
        if not self.late_reward_weights:
            return None
        changed = dict(map(_weight, (*self.reward_weights, *self.late_reward_weights)))
        return weights_of(self.rewards, changed)


def _weight(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise ValueError(f"reward_weights: want TERM=NUMBER. Received: {text!r:.60}")
    return name, weight


@dataclass(frozen=True)
class PolicyGradientConfig:
    """How a policy is made of what was played."""

    KIND: ClassVar = Kind.TRAINING

    algorithm: Algorithm = "ppo"
    """ppo clips what an update may change; vtrace corrects for the policy that played."""
    rollout: int = 128
    """Frames of each game in an update."""
    ppo_epochs: int = 4
    """Times that an update goes over its frames."""
    minibatches: int = 4
    """Parts of a time at most: the greatest number that shares the games out evenly. Each part is
    some games' frames as a whole."""
    gae_lambda: float = 0.95
    """λ of advantages: 0 trusts the value function, 1 what happened."""
    clip_epsilon: float = option(0.2, only_with={"algorithm": "ppo"})
    """How far a ratio of probabilities is followed."""
    value_clip: float = option(0.2, only_with={"algorithm": "ppo"})
    """How far an update moves a value; 0 for no bound."""
    clip_rho: float = option(1.0, only_with={"algorithm": "vtrace"})
    """ρ̄ of V-trace."""
    clip_c: float = option(1.0, only_with={"algorithm": "vtrace"})
    """c̄ of V-trace."""
    value_coef: float = 0.5
    """Weight of the value loss."""
    entropy_coef: float = 0.01
    """Weight of the entropy, which is rewarded."""
    teacher_kl: float = 0.1
    """Weight of KL(policy ‖ policy it started from)."""
    teacher_reverse_kl: float = 0.0
    """Weight of KL(policy it started from ‖ policy)."""
    max_kl: float = 0.02
    """An update that moves the policy further than this (KL of before to after, nats a frame) is
    taken back, and the next ones are half as large; 0 for no bound."""
    value_burn_in: int = 8
    """Updates at first that teach values alone."""
    value_layers: tuple[int, ...] = (128,)
    """Widths of the value head's layers, where --pretrained has none."""
    value_shapes_policy: bool = False
    """Values teach the policy's backbone too."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        for name, low in (("rollout", 1), ("ppo_epochs", 1), ("minibatches", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name}: want at least {low}. Received: {getattr(self, name)}")
        if not 0 <= self.gae_lambda <= 1:
            raise ValueError(f"gae_lambda: want 0 <= x <= 1. Received: {self.gae_lambda}")
        if not 0 < self.clip_epsilon < 1:
            raise ValueError(f"clip_epsilon: want 0 < x < 1. Received: {self.clip_epsilon}")
        others = ("value_clip", "clip_rho", "clip_c", "value_coef", "entropy_coef", "teacher_kl")
        for name in (*others, "teacher_reverse_kl", "max_kl", "value_burn_in"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: want at least 0. Received: {getattr(self, name)}")
        if not self.value_layers or min(self.value_layers) < 1:
            raise ValueError(f"value_layers: want widths. Received: {self.value_layers}")


@dataclass(frozen=True)
class PlayedOptimizerConfig(OptimizerConfig):
    """`OptimizerConfig` without what minibatches do."""

    accumulation_steps: int = option(1, is_derived=True)


@dataclass(frozen=True)
class PlayedRunConfig(RunConfig):
    """`RunConfig` of a run that is as long as it plays, and has nothing to validate on."""

    epochs: int = option(1, is_derived=True)
    min_steps: int | None = option(None, is_derived=True)
    max_steps: int | None = option(None, is_derived=True)
    validate_every_steps: int | None = option(None, is_derived=True)
    batch_size: int = option(16, is_derived=True)
    auto_batch_size: bool = option(False, is_derived=True)
    auto_batch_max: int = option(1024, is_derived=True)
    memory_budget_mb: int | None = option(None, is_derived=True)
    save_every: int = option(1, is_derived=True)
    save_every_batches: int | None = option(None, is_derived=True)
    devices: str = option("1", is_derived=True)
    timesteps: int = option(100_000, kind=Kind.LENGTH)
    """Frames to learn from, of all players that learn together."""
    save_interval: int = 10
    """Updates between exports and checkpoints."""
    contest_games: int = 0
    """Games to count behind the last update, against the policy it started from and against each
    opponent, on changing ports; contest.json and the last lines tell."""
    contest_frames: int | None = None
    """Frames after which a counted game ends by time, in the simulator; none means
    --max-episode-frames."""
    keep_value_head: bool = False
    """Keep the value head in the policy's folder, for a run by playing that starts from it."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        super().__post_init__()
        for name in ("timesteps", "save_interval"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: want at least 1. Received: {getattr(self, name)}")
        if self.contest_games < 0:
            raise ValueError(f"contest_games: want at least 0. Received: {self.contest_games}")
        if self.contest_frames is not None and self.contest_frames < 1:
            raise ValueError(f"contest_frames: want at least 1. Received: {self.contest_frames}")


def _optimizer() -> PlayedOptimizerConfig:
    return PlayedOptimizerConfig(optimizer="adam", max_grad_norm=0.5, ema=False)


def _schedule() -> ScheduleConfig:
    return ScheduleConfig(lr=3e-4, lr_schedule="constant", warmup_share=0.0)


def _run() -> PlayedRunConfig:
    return PlayedRunConfig(log_interval=1)


@dataclass(frozen=True)
class StartConfig:
    """Whose weights are the first ones."""

    KIND: ClassVar = Kind.SOURCE

    pretrained: Path | None = None
    """Folder of the run, or policy bundle, to start from; it is the teacher too."""
    kl_teacher: Path | None = None
    """Folder of another teacher, of the same network; none means --pretrained."""


@dataclass(frozen=True)
class PlayingConfig:
    """What every command has that learns by playing."""

    start: StartConfig = field(default_factory=StartConfig)
    game: GameConfig = field(default_factory=GameConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    gradient: PolicyGradientConfig = field(default_factory=PolicyGradientConfig)
    schedule: ScheduleConfig = field(default_factory=_schedule)
    optimizer: PlayedOptimizerConfig = field(default_factory=_optimizer)
    run: PlayedRunConfig = field(default_factory=_run)

    @property
    def opponents(self) -> tuple[str, ...]:
        """Against whom matches are played, in turn."""
        return (SELF,)

    @property
    def matchmaking(self) -> MatchmakingRule:
        """Which script a match meets in its next game."""
        return "even"

    def _spelled_out(self, opponents: tuple[str, ...]) -> tuple[str, ...]:
        """Opponents, with those in place that `start` and `scripts` stand for."""
        words = {
            START: (without_suffix(str(self.start.pretrained)),),
            EVERY_SCRIPT: tuple(f"{SCRIPT}{name}" for name in SCRIPTS),
        }
        return tuple(name for word in opponents for name in words.get(word, (word,)))

    @property
    def seed(self) -> int:
        """Of everything that is drawn.

        Raises: ValueError: if none was drawn yet.
        """
        return self.run.drawn_seed


Playing = TypeVar("Playing", bound=PlayingConfig)
"""Of a command that learns by playing."""


@dataclass(frozen=True)
class RentedPlayingConfig(PlayingConfig):
    """What those commands have besides that may run on a rented machine."""

    cloud: CloudConfig = field(default_factory=CloudConfig)


@dataclass(frozen=True)
class OpponentConfig:
    """Who is played against."""

    KIND: ClassVar = Kind.TRAINING

    opponent: tuple[str, ...] = ()
    """self, start (the policy of --pretrained as it is), script:NAME, scripts (all of them), the
    folder of a run, or cpu1 to cpu9 in Dolphin; of several, matches are shared out. None: cpu3 in
    Dolphin, else self."""
    matchmaking: MatchmakingRule = "even"
    """even keeps each match's opponent; the others draw among the scripts anew for every game: hard
    those that win more often, close those that win about as often as they lose."""


@dataclass(frozen=True)
class PpoConfig(RentedPlayingConfig):
    """Improves a policy by playing: PPO or V-trace, from the weights of a trained one."""

    against: OpponentConfig = field(default_factory=OpponentConfig)

    @property
    def opponents(self) -> tuple[str, ...]:
        """See the base class."""
        default = "cpu3" if self.game.is_dolphin else SELF
        return self._spelled_out(self.against.opponent) or (default,)

    @property
    def matchmaking(self) -> MatchmakingRule:
        """See the base class."""
        return self.against.matchmaking


@dataclass(frozen=True)
class MixConfig:
    """Whom a policy meets that plays against itself."""

    KIND: ClassVar = Kind.TRAINING

    mode: Literal["simple_mix", "league"] = "simple_mix"
    """simple_mix: half of the matches against itself, half against its own past. league: as
    exphil_tf.league run, by that command's defaults."""
    snapshot_interval: int = option(5, only_with={"mode": "simple_mix"})
    """Updates after which the policy as it is joins its past, and opponents are drawn anew."""
    snapshot_history: int = option(20, only_with={"mode": "simple_mix"})
    """Newest snapshots that opponents are drawn from."""
    snapshot_players: int = option(2, only_with={"mode": "simple_mix"})
    """Snapshots that play at the same time."""
    opponent: tuple[str, ...] = option((), only_with={"mode": "simple_mix"})
    """Who gets matches besides, as many as each snapshot: start, script:NAME, scripts, the folder
    of a run, or cpu1 to cpu9 in Dolphin."""
    track_elo: bool = option(False, kind=Kind.WORK, only_with={"mode": "simple_mix"})
    """Rate some snapshots against each other and the scripts behind the last update; ratings.json
    and the last lines tell. A league always does."""

    def __post_init__(self) -> None:
        """Raises ValueError naming the field that is out of range."""
        for name in ("snapshot_interval", "snapshot_history", "snapshot_players"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: want at least 1. Received: {getattr(self, name)}")


@dataclass(frozen=True)
class SelfPlayConfig(RentedPlayingConfig):
    """Improves a policy against itself and its own past."""

    game: GameConfig = field(default_factory=lambda: GameConfig(num_games=4))
    mix: MixConfig = field(default_factory=MixConfig)

    @property
    def opponents(self) -> tuple[str, ...]:
        """See the base class."""
        snapshots = [f"{SNAPSHOT}{place}" for place in range(self.mix.snapshot_players)]
        turns = [name for snapshot in snapshots for name in (SELF, snapshot)]
        return (*turns, *self._spelled_out(self.mix.opponent))
