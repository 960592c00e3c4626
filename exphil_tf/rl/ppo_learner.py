"""PPO and V-trace on the learner protocol: one update is a rollout gone over several times.

    play -> read (values, log-probabilities, the teacher's logits) -> advantages -> minibatches
    -> measure how far the policy moved -> keep it, or take it back

Every one of them but the first is a compiled function. Minibatches are rows as wholes, each from
the memory that the policy had when it played, so a policy with memory learns as it plays. An update
that moved the policy further than `max_kl` is taken back, with the optimizer's state, and later
ones are half as large until ten in a row were kept; training goes on, and `reverted` counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from exphil_tf.rl import losses, ppo_metrics, returns
from exphil_tf.rl.actor import split_buckets
from exphil_tf.rl.returns import Estimates
from exphil_tf.rl.rollout import Rollout, Rollouts
from exphil_tf.training.compiled_step import CompiledStep
from exphil_tf.training.learner import LearnerVariables, Report
from exphil_tf.training.metric import Metric, Values
from exphil_tf.training.ppo_config import PolicyGradientConfig
from exphil_tf.training.running_sums import RunningSums
from exphil_tf.training.updater import Updater
from models.carried_state import CarriedState
from models.heads import distribution
from models.heads.value import ValueHead
from models.policy import Policy

RECOVERY = 10
"""Updates kept in a row after which steps are twice as large again."""
LEAST_SCALE = 1.0 / 1024


class ScaledSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that can be turned down while it runs.

    Args:
      schedule: by step.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule):
        super().__init__()
        self.schedule = schedule
        self.scale = tf.Variable(tf.ones([]), trainable=False)

    def __call__(self, step: Any) -> Any:
        """float32 `[]`."""
        return self.schedule(step) * self.scale

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"schedule": self.schedule}


@dataclass(frozen=True)
class PpoParts:
    """What learns, and by which steps."""

    policy: Policy
    value: ValueHead
    """Reads what the policy's head reads."""
    teacher: Policy | None
    """The policy is held near it."""
    updater: Updater
    """Of the policy's trainable variables."""
    value_updater: Updater
    """Of the value head's."""
    schedule: ScaledSchedule
    """Of both, to turn steps down by."""


class PpoLearner:
    """A `Learner` of a policy and a value head, from rollouts.

    Args:
      parts: what learns, and by which steps.
      config: see `PolicyGradientConfig`.
      rollouts: whose batches it is given: their rows (a multiple of the minibatches), delay,
        reward terms and stopwatch.
      seed: of the order of rows.
      jit: compile with XLA.
    """

    def __init__(
        self,
        parts: PpoParts,
        *,
        config: PolicyGradientConfig,
        rollouts: Rollouts,
        seed: int,
        jit: bool = True,
    ):
        policy, teacher = parts.policy, parts.teacher
        self.policy, self.value, self.teacher = policy, parts.value, teacher
        self._updater, self._value_updater = parts.updater, parts.value_updater
        self._schedule = parts.schedule
        rows = self.rows = len(rollouts.learner.seats)
        self.config, self.delay, self._seed = config, rollouts.learner.delay, seed
        self.stopwatch = rollouts.stopwatch
        self._snapshots, self._matchmaking = rollouts.snapshots, rollouts.matchmaking
        self._matches = rollouts.matches
        self._teacher_memory = None if teacher is None else CarriedState(teacher, rows)
        self._initial = policy.initial_state(rows)
        self._sums = RunningSums(dict.fromkeys(ppo_metrics.STEP_SUMS, ()))
        terms = map(ppo_metrics.term_sum, rollouts.options.weights_at(0))
        self._played = RunningSums(dict.fromkeys((*ppo_metrics.ROLLOUT_SUMS, *terms), ()))
        self._counts = {
            name: tf.Variable(tf.zeros([], tf.int64), trainable=False)
            for name in ("skipped", "streak", "worst_streak", "reverted", "kept")
        }
        self._norm = tf.Variable(tf.zeros([]), trainable=False)
        self._read = CompiledStep(self._read_rollout, jit=jit)
        self._train = CompiledStep(self._train_rows, jit=jit)
        self._train_value = CompiledStep(self._train_value_rows, jit=jit)
        self._moved = CompiledStep(self._mean_kl, jit=jit)

    metrics: tuple[Metric, ...] = ppo_metrics.METRICS

    # -- The protocol ------------------------------------------------------------------------------

    def variables(self) -> LearnerVariables:
        """Of policy, value head, updaters and counters."""
        weights = {f"policy/{i}": v.value for i, v in enumerate(self.policy.variables)}
        training = {f"value/{i}": v.value for i, v in enumerate(self.value.variables)}
        for name, updater in (("updater", self._updater), ("value_updater", self._value_updater)):
            training |= {f"{name}/{n}": v for n, v in updater.state().items()}
        counters = {f"totals/{name}": v for name, v in self._sums.variables.items()}
        counters |= {f"played/{name}": v for name, v in self._played.variables.items()}
        counters |= {f"counts/{name}": v for name, v in self._counts.items()}
        counters |= {"grad_norm": self._norm, "step_scale": self._schedule.scale}
        carried: dict[str, tf.Variable] = {}
        if self._teacher_memory is not None:
            carried = {f"teacher/{n}": v for n, v in self._teacher_memory.variables.items()}
        return LearnerVariables(weights, training, counters, carried)

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the policy has its averaged weights, where averages are kept."""
        return self._updater.averaged()

    def update(self, batches: Iterator[Rollout], *, step: int) -> None:
        """Plays a rollout and learns from it."""
        rollout = next(batches)
        with self.stopwatch.on("learner"):
            self._learn(rollout, step)
        if self._snapshots is not None:
            self._snapshots.after(step + 1)

    def validate(self, batches: Iterable[Rollout]) -> Values:
        """There is nothing to validate on."""
        del batches
        return {}

    def take_report(self) -> Report:
        """What was measured since the last call."""
        sums = {name: float(v) for name, v in self._played.take().items()}
        steps = {name: float(v) for name, v in self._sums.take().items()}
        counts = {name: int(v.numpy()) for name, v in self._counts.items()}
        self._counts["worst_streak"].assign(0)
        values = ppo_metrics.means(sums, steps) if sums["frames"] else {}
        if values:
            values["reverted"] = counts["reverted"]
            values["step_scale"] = float(self._schedule.scale.numpy())
            values["grad_norm"] = float(self._norm.numpy())
            values["lr"] = float(self._updater.optimizer.learning_rate)
            values["cpu_s"] = self.stopwatch.take()
            if self._matchmaking is not None:
                values["won_against"] = self._matchmaking.won
            if self._matches.restarts:
                values["restarts"] = self._matches.restarts
        return Report(sums["frames"], values, counts["skipped"], counts["worst_streak"])

    def reset(self) -> None:
        """Drops sums and streaks."""
        self._sums.reset()
        self._played.reset()
        self._counts["streak"].assign(0)
        self._counts["worst_streak"].assign(0)

    # -- An update ---------------------------------------------------------------------------------

    def graphs(self, rollout: Rollout) -> Iterator[tuple[Any, int]]:
        """Graphs of an update on such a rollout, with shapes, and how often it runs each of them.

        What a benchmark counts.
        """
        frames = _tensors(rollout)
        yield self._read.graph(frames).as_graph_def(add_shapes=True), 1
        read = self._read(frames)
        estimates, weight = self._estimates(rollout, read)
        frames |= self._to_learn(read, estimates, weight)
        orders = list(self._orders(0))
        yield self._train.graph(frames, orders[0]).as_graph_def(add_shapes=True), len(orders)
        yield self._moved.graph(frames).as_graph_def(add_shapes=True), 1

    def _learn(self, rollout: Rollout, step: int) -> None:
        frames = _tensors(rollout)
        read = self._read(frames)
        estimates, weight = self._estimates(rollout, read)
        frames |= self._to_learn(read, estimates, weight)
        is_burning_in = step < self.config.value_burn_in
        before = [] if is_burning_in else self._snapshot()
        train = self._train_value if is_burning_in else self._train
        for rows in self._orders(step):
            self._count_step(train(frames, rows))
        moved = 0.0
        if not is_burning_in:
            moved = float(self._moved(frames))
            self._keep_or_revert(moved, before)
        sums = ppo_metrics.rollout_sums(
            rollout,
            {name: read[name].numpy() for name in ("values", "log_prob")},
            estimates=estimates,
            weight=weight,
            moved=moved,
            delay=self.delay,
        )
        self._played.add(sums)

    def _to_learn(
        self, read: Mapping[str, Any], estimates: Estimates, weight: np.ndarray
    ) -> dict[str, Any]:
        """What a step needs beside what was played."""
        found = {
            "advantage": tf.constant(returns.normalised(estimates.advantage, weight)),
            "target": tf.constant(estimates.target),
            "weight": tf.constant(weight),
            "value": read["values"][:, :-1],
            "logits": read["logits"],
        }
        return found | ({"teacher": read["teacher"]} if "teacher" in read else {})

    def _orders(self, step: int) -> Iterator[Any]:
        """Rows of each minibatch, a function of the run's seed and place."""
        count = self.config.minibatches
        for epoch in range(self.config.ppo_epochs):
            rng = np.random.Generator(np.random.PCG64([self._seed, step, epoch]))
            order = rng.permutation(self.rows).astype(np.int32)
            for part in order.reshape(count, -1):
                yield tf.constant(part)

    def _estimates(self, rollout: Rollout, read: Mapping[str, Any]) -> tuple[Estimates, np.ndarray]:
        """Advantages, targets, and float32 `[rows, time]`, 0 where a frame does not count."""
        config = self.config
        transitions = returns.delayed(rollout.transitions, delay=self.delay)
        values = read["values"].numpy()
        weight = (~transitions.is_cut).astype(np.float32)
        if config.algorithm == "ppo":
            return returns.gae(transitions, values, decay=config.gae_lambda), weight
        found = returns.vtrace(
            transitions,
            values,
            read["log_prob"].numpy() - rollout.log_prob,
            decay=config.gae_lambda,
            clip_rho=config.clip_rho,
            clip_c=config.clip_c,
        )
        return found, weight

    def _snapshot(self) -> list[tuple[tf.Variable, Any]]:
        return [(v, tf.identity(v)) for v in self.variables().learnt().values()]

    def _keep_or_revert(self, moved: float, before: list[tuple[tf.Variable, Any]]) -> None:
        counts, scale = self._counts, self._schedule.scale
        if self.config.max_kl and moved > self.config.max_kl:
            for variable, value in before:
                variable.assign(value)
            scale.assign(tf.maximum(scale / 2, LEAST_SCALE))
            counts["reverted"].assign_add(1)
            counts["kept"].assign(0)
            return
        counts["kept"].assign_add(1)
        if counts["kept"] >= RECOVERY:
            scale.assign(tf.minimum(scale * 2, 1.0))
            counts["kept"].assign(0)

    # -- Compiled ----------------------------------------------------------------------------------

    def _hidden(self, policy: Policy, frames: Mapping[str, Any], memory: Any) -> tuple[Any, Any]:
        uses_previous = policy.config.embedding.with_prev_action
        return policy.unroll_joined(
            frames["numbers"],
            frames["ids"],
            frames["previous"] if uses_previous else None,
            state=memory,
            is_resetting=frames["is_resetting"],
        )

    def _memory(self, frames: Mapping[str, Any]) -> Any:
        parts = [frames[f"memory/{i}"] for i in range(len(keras.tree.flatten(self._initial)))]
        return keras.tree.pack_sequence_as(self._initial, parts)

    def _read_rollout(self, frames: dict[str, Any]) -> dict[str, Any]:
        """What policy, values and teacher say of a rollout before the update."""
        hidden, _ = self._hidden(self.policy, frames, self._memory(frames))
        buckets = split_buckets(frames["buckets"])
        logits = self.policy.head.unroll(hidden[:, :-1], buckets)
        read = {
            "values": self.value(hidden),
            "logits": logits,
            "log_prob": distribution.log_prob(logits, buckets),
        }
        if self.teacher is not None and self._teacher_memory is not None:
            played = _without_last(frames)
            memory = self._teacher_memory.read()
            hidden, memory = self._hidden(self.teacher, played, memory)
            self._teacher_memory.write(memory)
            read["teacher"] = self.teacher.head.unroll(hidden, buckets)
        return read

    def _train_rows(self, frames: dict[str, Any], rows: Any) -> dict[str, Any]:
        """One step of policy and values on some rows."""
        part = _rows(frames, rows)
        own = [v.value for v in self._updater.variables]
        of_value = [v.value for v in self._value_updater.variables]
        with tf.GradientTape(watch_accessed_variables=False, persistent=False) as tape:
            tape.watch([*own, *of_value])
            sums = self._losses(part)
        gradients = tape.gradient(sums["loss"], [*own, *of_value])
        told = {"loss": sums["loss"], "weight": sums["weight"]}
        report = self._updater.update(gradients[: len(own)], **told)
        value_report = self._value_updater.update(gradients[len(own) :], **told)
        self._norm.assign(tf.where(report.applied, report.grad_norm, self._norm))
        return sums | {"applied": report.applied & value_report.applied}

    def _train_value_rows(self, frames: dict[str, Any], rows: Any) -> dict[str, Any]:
        """One step of values alone."""
        part = _rows(frames, rows)
        of_value = [v.value for v in self._value_updater.variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(of_value)
            sums = self._losses(part)
        gradients = tape.gradient(sums["loss"], of_value)
        report = self._value_updater.update(gradients, loss=sums["loss"], weight=sums["weight"])
        return sums | {"applied": report.applied}

    def _losses(self, part: dict[str, Any]) -> dict[str, Any]:
        """Sums over frames of the loss and its parts."""
        config = self.config
        hidden, _ = self._hidden(self.policy, _without_last(part), self._memory(part))
        buckets = split_buckets(part["buckets"])
        logits = self.policy.head.unroll(hidden, buckets)
        said = distribution.evaluate(logits, buckets, reference=part.get("teacher"))
        ratio = said.log_prob.total - part["log_prob"]
        if config.algorithm == "ppo":
            gain = losses.clipped_policy_loss(ratio, part["advantage"], clip=config.clip_epsilon)
        else:
            gain = losses.policy_gradient_loss(said.log_prob.total, part["advantage"])
        clip = config.value_clip if config.algorithm == "ppo" else 0.0
        value = losses.clipped_value_loss(
            self.value(hidden), part["value"], part["target"], clip=clip
        )
        nothing = tf.zeros_like(gain)
        kl = nothing if said.kl_to is None else said.kl_to.total
        reverse = nothing if said.kl_from is None else said.kl_from.total
        loss = (
            gain
            + config.value_coef * value
            - config.entropy_coef * said.entropy.total
            + config.teacher_kl * kl
            + config.teacher_reverse_kl * reverse
        )
        outside = tf.abs(ratio) > np.log1p(config.clip_epsilon)
        parts = (
            tf.ones_like(gain), gain, value, said.entropy.total, kl, reverse,
            tf.cast(outside, tf.float32), loss,
        )  # fmt: skip
        weight, names = part["weight"], ppo_metrics.STEP_SUMS
        return {name: tf.reduce_sum(weight * one) for name, one in zip(names, parts, strict=True)}

    def _mean_kl(self, frames: dict[str, Any]) -> Any:
        """KL of the policy before the update to the one after it, nats per frame."""
        played = _without_last(frames)
        hidden, _ = self._hidden(self.policy, played, self._memory(frames))
        logits = self.policy.head.unroll(hidden, split_buckets(frames["buckets"]))
        apart = distribution.Nats.of(distribution.kl(frames["logits"], logits)).total
        weight = frames["weight"]
        return tf.reduce_sum(weight * apart) / tf.maximum(tf.reduce_sum(weight), 1.0)

    # -- Counting ----------------------------------------------------------------------------------

    def _count_step(self, sums: dict[str, Any]) -> None:
        applied, counts = sums["applied"], self._counts
        self._sums.add(sums, applied)
        streak = tf.where(applied, tf.constant(0, tf.int64), counts["streak"] + 1)
        counts["streak"].assign(streak)
        counts["worst_streak"].assign(tf.maximum(counts["worst_streak"], streak))
        counts["skipped"].assign_add(tf.cast(~applied, tf.int64))


def _tensors(rollout: Rollout) -> dict[str, Any]:
    """What compiled functions read of a rollout, on the device."""
    names = ("numbers", "ids", "previous", "is_resetting", "buckets", "log_prob")
    found = {name: tf.constant(getattr(rollout, name)) for name in names}
    return found | {f"memory/{i}": part for i, part in enumerate(rollout.memory)}


def _without_last(frames: Mapping[str, Any]) -> dict[str, Any]:
    """Without the frame that is only bootstrapped from."""
    longer = ("numbers", "ids", "previous", "is_resetting")
    return {**frames, **{name: frames[name][:, :-1] for name in longer}}


def _rows(frames: Mapping[str, Any], rows: Any) -> dict[str, Any]:
    return tf.nest.map_structure(lambda x: tf.gather(x, rows), dict(frames))
