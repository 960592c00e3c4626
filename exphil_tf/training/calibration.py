"""First ranges of a quantized policy's activations: the extremes over some batches."""

from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_DATA
from models.carried_state import CarriedState
from models.layers.quantized import activation_quantizers, calibrating
from models.policy import Policy
from models.policy_inputs import Batch, policy_inputs, unroll_on


def calibrate(
    policy: Policy, batches: Iterable[Batch], *, carried: CarriedState | None = None
) -> int:
    """Sets every activation range to the extremes that the batches bring; dropout is off.

    Later layers see what earlier ones have rounded already, as when playing. TFMOT's moving average
    would need some thousand steps to come down from its start of 6.

    Args:
      policy: quantized.
      batches: of `exphil_tf.data.input`, finitely many.
      carried: where memory is kept between them, if their rows go on; None if they do not.

    Returns: the number of frames seen.

    Raises: UserError: if there is no frame, or a range is NaN or infinite.
    """
    codec = policy.config.head.codec

    @tf.function(autograph=False, reduce_retracing=False)
    def see(batch: dict) -> None:
        unroll_on(policy, policy_inputs(batch, codec, is_carried=carried is not None), carried)

    frames = 0
    with calibrating(policy):
        for batch in batches:
            see(dict(batch))
            frames += int(np.count_nonzero(batch["weight"]))
    bounds = [float(v.value) for q in activation_quantizers(policy) for v in (q.low, q.high)]
    if not frames or not np.isfinite(bounds).all():
        raise UserError(
            f"calibration: {frames} frames gave no finite activation ranges",
            "Check the dataset (python -m exphil_tf.verify), or train the float policy longer.",
            exit_code=EXIT_DATA,
        )
    return frames
