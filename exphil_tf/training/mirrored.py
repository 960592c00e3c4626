"""Imitation on several devices: each holds the whole network and learns from its share of a batch.

The shares' summed gradients and figures are added up over the devices, and every device makes the
same update of its own copy. So an update is that of one device but for the order of sums, and what
is saved is the first device's copy: a checkpoint knows nothing of devices.

`tf.distribute` runs the shares and adds them up (NCCL on GPUs). Variables are no mirrored ones: XLA
compiles neither the exchange between devices nor what Keras' optimizers do with such variables, so
a step is a graph that joins functions compiled for one device each.
"""

import contextlib
import functools
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import tensorflow as tf

from exphil_tf.foundation.errors import UserError
from exphil_tf.training.imitation import ImitationLearner
from exphil_tf.training.learner import LearnerVariables, Report
from exphil_tf.training.metric import Values
from models.layers import dropout
from models.policy import Policy
from models.policy_inputs import Batch


class MirroredLearner:
    """A `Learner` of replicas that stay the same.

    Args:
      replicas: learners of equal options, each made inside `tf.device` of its device.
      strategy: of the devices, `strategy.extended.worker_devices` those of the replicas. Where it
        joins several processes, each reads the same batches and learns from its own share.
    """

    def __init__(self, replicas: Sequence[ImitationLearner], strategy: tf.distribute.Strategy):
        self._replicas, self._strategy = tuple(replicas), strategy
        self._devices: Sequence[str] = strategy.extended.worker_devices
        self._first = self._replicas[0]
        self.metrics = self._first.metrics
        resolver = strategy.cluster_resolver
        self._first_share = 0 if resolver is None else resolver.task_id * len(self._replicas)
        self._is_mirrored = False
        each = self._compiled_for_each
        self._gradients = each(_gradients)
        self._validation_sums = each(_validation_sums)
        self._apply = each(lambda replica, index, total: replica.apply(*total))
        self._add = each(lambda replica, index, total: replica.accumulate(*total))
        self._apply_added = each(lambda replica, index: replica.apply_accumulated())
        # No Python control flow to convert.
        joined = functools.partial(tf.function, autograph=False)
        self._train = joined(self._train_batch)
        self._accumulate = joined(self._accumulate_batch)
        self._update = joined(self._update_accumulated)
        self._validate = joined(self._validate_batch)

    @property
    def policy(self) -> Policy:
        """The first device's."""
        return self._first.policy

    def variables(self) -> LearnerVariables:
        """The first device's."""
        return self._first.variables()

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the first device's policy has its averaged weights, where averages are kept."""
        return self._first.averaged()

    def update(self, batches: Iterator[Batch], *, step: int) -> None:
        """As `ImitationLearner.update`, on all devices."""
        del step  # only ranges go by it, and they are refused
        self._mirror()
        updater = self._first.updater
        if not updater.is_accumulating:
            self._train(dict(next(batches)))
            return
        for _ in range(updater.config.accumulation_steps):
            self._accumulate(dict(next(batches)))
        self._update()

    def validate(self, batches: Iterable[Batch]) -> Values:
        """As `ImitationLearner.validate`, on all devices."""
        self._mirror()
        with contextlib.ExitStack() as stack:
            for replica in self._replicas:
                stack.enter_context(replica.averaged())
            for batch in batches:
                self._validate(dict(batch))
        return self._first.validated()

    def take_report(self) -> Report:
        """The first device's, which holds the sums over all."""
        return self._first.take_report()

    def reset(self) -> None:
        """Drops sums and streaks, after the first device's weights went back to a checkpoint."""
        self._first.reset()
        self._is_mirrored = False

    def _mirror(self) -> None:
        """Gives every device what the first one holds, if that came from elsewhere."""
        if self._is_mirrored:
            return
        source = self._first.variables().learnt()
        for replica in self._replicas[1:]:
            for name, variable in replica.variables().learnt().items():
                variable.assign(source[name].read_value())
        if self._strategy.num_replicas_in_sync > len(self._replicas):
            self._check_others()
        self._is_mirrored = True

    def _check_others(self) -> None:
        """Raises UserError if another process holds other weights, as after another checkpoint."""
        digest = 0
        for _, variable in sorted(self._first.variables().learnt().items()):
            digest = zlib.crc32(variable.numpy().tobytes(), digest)

        @tf.function(autograph=False)
        def total() -> Any:
            def share() -> Any:
                context: Any = tf.distribute.get_replica_context()
                return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.constant(digest, tf.int64))

            return self._strategy.experimental_local_results(self._strategy.run(share))[0]

        if int(total()) != digest * self._strategy.num_replicas_in_sync:
            raise UserError(
                "--devices workers: the processes do not stand at the same weights",
                "Give all the same options, and --resume a checkpoint of the same step to each.",
            )

    # -- Inside the graph --------------------------------------------------------------------------

    def _compiled_for_each(self, function: Callable[..., Any]) -> list[Callable[..., Any]]:
        """`function(replica, index, …)` of every replica, compiled for its device."""
        jit = self._first.options.jit
        return [
            tf.function(
                functools.partial(function, r, self._first_share + i),
                jit_compile=jit,
                autograph=False,
            )
            for i, r in enumerate(self._replicas)
        ]

    def _train_batch(self, batch: dict[str, Any]) -> None:
        self._on_each(self._apply, self._totals(self._gradients, batch))

    def _accumulate_batch(self, batch: dict[str, Any]) -> None:
        self._on_each(self._add, self._totals(self._gradients, batch))

    def _update_accumulated(self) -> None:
        self._on_each(self._apply_added, [()] * len(self._replicas))

    def _validate_batch(self, batch: dict[str, Any]) -> None:
        total = self._totals(self._validation_sums, batch)[0]
        self._first.add_validated(*total)

    def _totals(self, functions: Sequence[Callable[..., Any]], batch: dict[str, Any]) -> list[Any]:
        """What the functions say of their shares, added up: the same on every device."""
        count = self._strategy.num_replicas_in_sync
        shares = {name: tf.split(value, count) for name, value in batch.items()}

        def share() -> Any:
            context: Any = tf.distribute.get_replica_context()
            index = int(tf.get_static_value(context.replica_id_in_sync_group))
            found = functions[index - self._first_share](
                {name: parts[index] for name, parts in shares.items()}
            )
            return context.all_reduce(tf.distribute.ReduceOp.SUM, found)

        total = self._strategy.run(share)
        local = self._strategy.experimental_local_results
        return [
            tf.nest.map_structure(lambda x, i=i: local(x)[i], total) for i in range(len(functions))
        ]

    def _on_each(self, functions: Sequence[Callable[..., Any]], given: Sequence[Any]) -> None:
        for function, device, values in zip(functions, self._devices, given, strict=True):
            with tf.device(device):
                function(*((values,) if values else ()))


def _gradients(
    replica: ImitationLearner, index: int, batch: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Gradients of a share and its sums, as `ImitationLearner.gradients`; zeros for None."""
    with dropout.share_of_batch(index):
        gradients, sums = replica.gradients(batch)
    pairs = zip(gradients, replica.updater.variables, strict=True)
    dense = [tf.zeros(v.shape) if g is None else tf.convert_to_tensor(g) for g, v in pairs]
    return dense, sums


def _validation_sums(
    replica: ImitationLearner, index: int, batch: dict[str, Any]
) -> tuple[dict[str, Any], ...]:
    del index
    return replica.validation_sums(batch)
