"""The controller's distribution as pure functions of logits and buckets.

Logits and buckets are dicts by component (`COMPONENTS`, in sampling order): `buttons` holds 8
independent Bernoullis `[…, 8]`, the four axes and `shoulder` hold categories, logits
`[…, buckets]` against int32 buckets `[…]`. Loss, sampling, entropy and KL all go through here, so
imitation, PPO and play agree on what the network's output means. Everything is float32.

In an autoregressive head, logits of later components are conditioned on the given earlier ones.
So log-probabilities summed are the exact joint; entropy and KL are those of the conditionals at
that action, and their sums estimate the joint's without bias if it was drawn from the policy (for
KL: from the first of the two).

Sampling at temperature T draws from `tempered` logits; pass those to the functions here to speak of
what was played.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from exphil_tf.features.controller import COMPONENTS
from models.layers.backend import ops
from models.layers.temporal import Tensor

Logits = dict[str, Tensor]
Buckets = dict[str, Any]


class Nats(NamedTuple):
    """A quantity in nats of a distribution, by component and of the whole controller."""

    components: dict[str, Tensor]
    """float32 `[…]` each; the eight buttons are summed."""
    total: Tensor
    """float32 `[…]`, their sum."""

    @classmethod
    def of(cls, components: Mapping[str, Tensor]) -> "Nats":
        """Joins components, summed in `COMPONENTS` order."""
        return cls(dict(components), sum(components[name] for name in COMPONENTS))


class ActionLikelihood(NamedTuple):
    """What a distribution says of an action that was taken."""

    log_prob: Nats
    """Log-probability of the action."""
    entropy: Nats
    """Entropy at that action."""
    kl_to: Nats | None
    """KL(this || reference) at that action; None without a reference."""
    kl_from: Nats | None
    """KL(reference || this) at that action; None without a reference."""


def evaluate(
    logits: Logits,
    buckets: Buckets,
    *,
    temperature: Tensor | None = None,
    reference: Logits | None = None,
) -> ActionLikelihood:
    """Log-probability, entropy and divergence from a reference, all at one temperature.

    Args:
      logits: before temperature, conditioned on `buckets` if the head is autoregressive.
      buckets: the action.
      temperature: as in `tempered`.
      reference: logits of another policy at the same frames, likewise before temperature.
    """
    logits = tempered(logits, temperature)
    other = None if reference is None else tempered(reference, temperature)
    log_probs = {name: -value for name, value in nll(logits, buckets).items()}
    return ActionLikelihood(
        log_prob=Nats.of(log_probs),
        entropy=Nats.of(entropy(logits)),
        kl_to=None if other is None else Nats.of(kl(logits, other)),
        kl_from=None if other is None else Nats.of(kl(other, logits)),
    )


def tempered(logits: Logits, temperature: Tensor | None) -> Logits:
    """Returns the logits that sampling at a temperature draws from.

    Args:
      logits: of a head.
      temperature: float32, positive, broadcast against `[…, 1]`; None for 1.
    """
    if temperature is None:
        return logits
    return {name: ops.cast(value, "float32") / temperature for name, value in logits.items()}


def button_nll(logits: Tensor, pressed: Tensor) -> Tensor:
    """Returns `-log p(pressed)` per button, float32 `[…, 8]`, of logits and 0/1 of that shape."""
    logits, pressed = ops.cast(logits, "float32"), ops.cast(pressed, "float32")
    return ops.softplus(logits) - logits * pressed


def categorical_nll(logits: Tensor, bucket: Tensor) -> Tensor:
    """Returns `-log p(bucket)`, float32 `[…]`, of logits `[…, buckets]` and int32 `[…]`."""
    logits = ops.cast(logits, "float32")
    # A one-hot product: a gather's gradient would be a slow scatter.
    chosen = ops.sum(logits * ops.one_hot(bucket, logits.shape[-1], dtype="float32"), axis=-1)
    return ops.logsumexp(logits, axis=-1) - chosen


def nll(logits: Logits, buckets: Buckets) -> dict[str, Tensor]:
    """Returns the negative log-likelihood per component, float32 `[…]`; buttons are summed."""
    losses = {"buttons": ops.sum(button_nll(logits["buttons"], buckets["buttons"]), axis=-1)}
    categories = COMPONENTS[1:]
    return losses | {name: categorical_nll(logits[name], buckets[name]) for name in categories}


def log_prob(logits: Logits, buckets: Buckets, temperature: Tensor | None = None) -> Tensor:
    """Returns the joint log-probability of an action, float32 `[…]`.

    Args:
      logits: of the distribution, conditioned on `buckets` if the head is autoregressive.
      buckets: the action.
      temperature: as in `tempered`.
    """
    return -Nats.of(nll(tempered(logits, temperature), buckets)).total


def entropy(logits: Logits) -> dict[str, Tensor]:
    """Returns the entropy per component in nats, float32 `[…]`; buttons are summed."""
    button = ops.cast(logits["buttons"], "float32")
    entropies = {
        "buttons": ops.sum(ops.softplus(button) - button * ops.sigmoid(button), axis=-1),
    }
    for name in COMPONENTS[1:]:
        log_p = ops.log_softmax(ops.cast(logits[name], "float32"), axis=-1)
        entropies[name] = -ops.sum(ops.exp(log_p) * log_p, axis=-1)
    return entropies


def kl(p: Logits, q: Logits) -> dict[str, Tensor]:
    """Returns KL(p || q) per component in nats, float32 `[…]`; buttons are summed."""
    a, b = ops.cast(p["buttons"], "float32"), ops.cast(q["buttons"], "float32")
    button = ops.sigmoid(a) * (a - b) + ops.softplus(b) - ops.softplus(a)
    divergences = {"buttons": ops.sum(button, axis=-1)}
    for name in COMPONENTS[1:]:
        log_p = ops.log_softmax(ops.cast(p[name], "float32"), axis=-1)
        log_q = ops.log_softmax(ops.cast(q[name], "float32"), axis=-1)
        divergences[name] = ops.sum(ops.exp(log_p) * (log_p - log_q), axis=-1)
    return divergences
