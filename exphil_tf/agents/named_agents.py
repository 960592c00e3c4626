"""Several agents by name: start one with a policy, ask for actions, look at it, reset it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from exphil_tf.agents.agent import Agent, AgentOptions, Decision, confidence
from exphil_tf.agents.policy_source import PolicySource, open_policy
from exphil_tf.features.controller_state import ControllerState


def make_agent(
    source: PolicySource,
    options: AgentOptions | None = None,
    *,
    batch_size: int = 1,
    seed: int = 0,
    threads: int = 1,
    player_style: str | None = None,
    desired_return: float | None = None,
) -> Agent:
    """An agent that plays a policy.

    Args:
      source: the policy.
      options: how it is played; None plays it at the delay that it was made for.
      batch_size: games at once.
      seed: decides the drawn actions.
      threads: that a step may use.
      player_style: whose style it plays: connect code, netplay name, tag or pseudonym.
      desired_return: percent to gain in the coming second, see `Conditions.ids`.

    Raises: UserError: if the policy cannot be told that, or was not trained for the delay.
    """
    options = options or AgentOptions(delay=source.conditions.delay.frames)
    told = source.conditions.ids(
        frame_delay=options.delay, player_style=player_style, desired_return=desired_return
    )
    stepper = source.stepper(batch_size=batch_size, seed=seed, threads=threads, told=told)
    return Agent(stepper, options, seed=seed)


class NamedAgents:
    """Agents by name."""

    def __init__(self) -> None:
        self._agents: dict[str, tuple[Agent, PolicySource]] = {}

    def start(self, name: str, policy: Path | PolicySource, **options: Any) -> Agent:
        """Starts an agent, warmed up; one of the same name is replaced.

        Args:
          name: of the agent.
          policy: an exported bundle's folder, a run's, or an opened one.
          options: of `AgentOptions`, and of `make_agent`.

        Raises: UserError, ValueError: as of `open_policy`, `make_agent` and `AgentOptions`.
        """
        source = policy if isinstance(policy, PolicySource) else open_policy(policy)
        own = {key: options.pop(key) for key in list(options) if key in _OPTIONS}
        start = AgentOptions(delay=source.conditions.delay.frames)
        agent = make_agent(source, replace(start, **own), **options)
        agent.warm_up()
        self._agents[name] = agent, source
        return agent

    def action(self, name: str, columns: Mapping[str, np.ndarray]) -> ControllerState:
        """What the agent holds on the next frame: a controller, or one per game.

        Args:
          name: of the agent.
          columns: schema columns `[batch, …]`, own player first.
        """
        return ControllerState.from_bytes(self.decide(name, columns).controller)

    def decide(self, name: str, columns: Mapping[str, np.ndarray]) -> Decision:
        """As `action`, with all that the agent says."""
        return self._of(name)[0].act(columns)

    def confidence(self, name: str, decision: Decision) -> np.ndarray:
        """float32 `[batch]`: see `agent.confidence`; 0 where an action is held on."""
        found = confidence(decision.output, self._of(name)[1].sizes)
        return np.where(decision.is_repeat, np.float32(0), found)

    def config(self, name: str) -> dict[str, Any]:
        """What is played and how; plain values."""
        agent, source = self._of(name)
        return {
            "policy": str(source.folder),
            "kind": source.kind,
            **source.facts,
            "trained_delays": asdict(source.conditions.delay),
            "options": asdict(agent.options),
            "batch_size": agent.batch_size,
            "latency": agent.latency.to_dict(),
        }

    def reset(self, name: str, rows: np.ndarray | None = None) -> None:
        """A game starts."""
        self._of(name)[0].reset(rows)

    def stop(self, name: str) -> None:
        """Forgets an agent."""
        self._of(name)
        del self._agents[name]

    def names(self) -> list[str]:
        """Of the agents that were started."""
        return sorted(self._agents)

    def _of(self, name: str) -> tuple[Agent, PolicySource]:
        if name not in self._agents:
            raise ValueError(f"agents: want one of {self.names()}. Received: {name!r:.60}")
        return self._agents[name]


_OPTIONS = frozenset(AgentOptions.__dataclass_fields__)
