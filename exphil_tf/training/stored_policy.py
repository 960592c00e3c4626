"""The policy inside a checkpoint, for who only reads: nothing is written beside the checkpoint."""

import tempfile
from pathlib import Path

import tensorflow as tf

from exphil_tf.training.state import unpack
from models.policy import Policy


def read_policy(checkpoint: Path, policy: Policy, *, is_averaged: bool) -> None:
    """Gives a policy the weights of a checkpoint of an imitation run.

    Names of variables are those of `ImitationLearner.variables` and `Updater.state`.

    Args:
      checkpoint: its folder; the run may remove it meanwhile.
      policy: of the run's network.
      is_averaged: take the moving averages that the run would export.

    Raises:
      OSError: if the run has removed the checkpoint.
      ValueError: if it is damaged, or of another network.
    """
    own = {f"policy/{i}": v.value for i, v in enumerate(policy.variables)}
    averages: dict[str, tf.Variable] = {}
    if is_averaged:
        averages = {
            f"updater/average/{i}": tf.Variable(v.value, trainable=False)
            for i, v in enumerate(policy.trainable_variables)
        }
    with tempfile.TemporaryDirectory() as folder:
        prefix = unpack(checkpoint, Path(folder))
        _restore(prefix, own | averages, checkpoint)
    for variable, average in zip(policy.trainable_variables, averages.values(), strict=False):
        variable.assign(average)


def _restore(prefix: str, variables: dict[str, tf.Variable], checkpoint: Path) -> None:
    try:
        status = tf.train.Checkpoint(variables=variables).read(prefix)
        status.assert_existing_objects_matched().expect_partial()
    except Exception as error:  # TensorFlow's reader meets damage with errors of any kind
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{checkpoint}: not of this network, or damaged: {reason}") from error
