"""Values beside imitation: the policy does not notice, they are learnt, saved, and told apart."""

import json

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
import tiny_imitation
from tiny_imitation import eagerly, make_batch

from exphil_tf.checkpoints import policy_bundle
from exphil_tf.checkpoints.policy_bundle import PolicyInfo, load_policy, named_weights, save_policy
from exphil_tf.checkpoints.value_weights import VALUE_WEIGHTS, load_value_head, value_file
from exphil_tf.features.packing import LAYOUT
from exphil_tf.foundation import atomic
from exphil_tf.foundation.errors import UserError
from exphil_tf.training.metric import selecting
from exphil_tf.training.optimizers import build_optimizer
from exphil_tf.training.run_config import OptimizerConfig
from exphil_tf.training.state import TrainState
from exphil_tf.training.updater import Updater
from exphil_tf.training.value_config import ValueConfig
from exphil_tf.training.value_learner import ValueBesideImitation
from exphil_tf.training.value_term import ValueTerm, make_value_term
from models.heads.value import ValueHead
from models.policy import Policy

CONFIG = ValueConfig(value_head=True, value_hidden=(6,), value_half_life=30)


def term_of(policy: Policy, **changes) -> ValueTerm:
    term = make_value_term(ValueConfig(**{**vars(CONFIG), **changes}), policy, seed=2)
    assert term is not None
    return term


def beside(*, jit=False, half_life=30.0, buckets=True, **options) -> ValueBesideImitation:
    imitation = tiny_imitation.make(jit=jit, dropout=0.3, buckets=buckets, **options)
    term = term_of(imitation.policy, value_half_life=half_life)
    config = OptimizerConfig(**options)
    variables = term.trainable_variables
    return ValueBesideImitation(
        imitation, term, Updater(variables, build_optimizer(config, 0.01, variables), config)
    )


def batches(count: int, time: int = 8):
    """Random batches in which percent rises, mostly that of the player on the left (x < 0), and the
    last frames may cost a stock."""
    found = []
    for seed in range(count):
        batch, rng = make_batch(seed, time=time), np.random.default_rng(seed)
        state = batch["state"].numpy()
        side = rng.choice([-60.0, 60.0], (4, 1, 1)) * np.array([1.0, -1.0])
        rise = rng.integers(0, 9, (4, time, 2)) + 20 * (side < 0)
        percent, x = np.cumsum(rise, axis=1), np.broadcast_to(side, (4, time, 2))
        stock = 4 - (np.arange(time) > 5)[None, :, None] * rng.integers(0, 2, (4, 1, 2))
        frame = np.broadcast_to(np.arange(time, dtype=np.int32)[None, :, None], (4, time, 1))
        for name, value in (
            ("p.percent", percent),
            ("p.x", x),
            ("p.stock", stock),
            ("frame", frame),
        ):
            slot = LAYOUT.slots[name]
            raw = np.ascontiguousarray(value.astype(slot.dtype)).view(np.uint8)
            state[..., slot.offset : slot.stop] = raw.reshape(4, time, -1)
        found.append(batch | {"state": tf.constant(state), "weight": tf.ones((4, time))})
    return found


def numbers(variables) -> dict:
    return {name: variable.numpy() for name, variable in variables.items()}


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            {"jit": True, "max_grad_norm": 0.5}, id="compiled, clipped", marks=pytest.mark.slow
        ),
        pytest.param({"accumulation_steps": 2, "ema": True}, id="accumulated, averaged"),
    ],
)
def test_the_policy_does_not_notice_a_value_head_beside_it(options):
    alone, with_values = tiny_imitation.make(dropout=0.3, **options), beside(**options)
    given = batches(6)
    for learner in (alone, with_values):
        stream = iter(given)
        for step in range(6 // options.get("accumulation_steps", 1)):
            learner.update(stream, step=step)
        assert next(stream, None) is None
    mine, other = alone.variables().all(), with_values.variables()
    assert other.weights.keys() == alone.variables().weights.keys()
    for name, value in numbers(mine).items():
        np.testing.assert_array_equal(value, other.all()[name].numpy(), err_msg=name)
    head = with_values.term.head
    assert np.abs(head.output_proj.kernel.numpy()).max() > 0
    assert alone.take_report().values["nll_total"] == with_values.take_report().values["nll_total"]


def test_values_are_learnt_measured_and_never_select():
    # A short one: little of a return is what the head itself says of the last frame.
    # Random buckets of the action before would fill a memory of eight units.
    learner = beside(half_life=1.0, buckets=False)
    given = batches(2)
    losses = []
    for step in range(100):
        learner.update(iter(given[:1]), step=step)
        losses.append(learner.take_report().values["value_loss"])
    assert losses[-1] < losses[0] / 4
    values = learner.validate(given[:1])
    assert values["value_loss"] == pytest.approx(losses[-1], rel=0.3)
    assert values["explained_variance"] > 0.5
    assert values["nll_total"] > 0
    assert selecting(learner.metrics).name == "nll_total"
    assert {"value_loss", "explained_variance"} <= {metric.name for metric in learner.metrics}


def test_means_of_a_worked_example():
    """Returns 1, 2, 3, 6 and values 1, 1, 3, 5: errors 0, 1, 0, 1."""
    term = term_of(tiny_imitation.make().policy)
    sums = {"value_weight": 4, "value_error": 2, "value_squared_error": 2}
    sums |= {"value_return": 12, "value_squared_return": 50}
    found = term.means({name: np.float64(v) for name, v in sums.items()}, 4.0)
    # Var(return) = 12.5 - 9 = 3.5, Var(error) = 0.5 - 0.25.
    assert found == {"value_loss": 0.5, "explained_variance": pytest.approx(1 - 0.25 / 3.5)}
    assert term.means(dict.fromkeys(sums, np.float64(0)), 4.0) == {}


def test_the_last_frame_of_an_unroll_bootstraps_and_burn_in_does_not_count():
    policy = tiny_imitation.make().policy
    term = term_of(policy)
    kernel = term.head.output_proj.kernel
    kernel.assign(np.random.default_rng(0).standard_normal(kernel.shape))
    (batch,) = batches(1, time=5)
    weight = np.ones((4, 5), np.float32)
    weight[:, :2] = 0
    inputs = tiny_imitation.inputs_of(policy, batch | {"weight": tf.constant(weight)})
    hidden = np.random.default_rng(1).standard_normal((4, 5, term.head.width))
    hidden = tf.constant(hidden, tf.float32)
    squared, sums = term.squared_errors(hidden, inputs)
    values = term.head(hidden).numpy().astype(np.float64)
    percent = inputs.columns["p.percent"].numpy().astype(np.float64)
    stock = inputs.columns["p.stock"].numpy().astype(np.float64)
    rise, lost = np.diff(percent, axis=1), -np.diff(stock, axis=1)
    reward = (lost[..., 1] - lost[..., 0]) + 0.01 * (rise[..., 1] - rise[..., 0])
    want, future = np.zeros((4, 4)), values[:, 4]
    for t in (3, 2, 1, 0):
        future = reward[:, t] + 0.5 ** (1 / 30) * future
        want[:, t] = (future - values[:, t]) ** 2
    np.testing.assert_allclose(squared, want, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(sums["value_squared_error"], want[:, 2:].sum(), rtol=1e-3)
    assert float(sums["value_weight"]) == 8


@eagerly()
def test_values_shape_the_policy_only_by_their_weight():
    def trained(weight):
        policy = tiny_imitation.make().policy
        terms = (term_of(policy, value_weight=weight),) if weight else ()
        learner = tiny_imitation.make(terms=terms)
        if terms:  # a term belongs to the policy that it reads
            learner = tiny_imitation.learner_of(policy, learner.options)
        for step, batch in enumerate(batches(3)):
            learner.update(iter([batch]), step=step)
        return tiny_imitation.weights(learner), learner

    (plain, _), (shaped, learner) = trained(0.0), trained(0.5)
    assert any(np.abs(plain[name] - shaped[name]).max() > 1e-5 for name in plain)
    assert learner.take_report().values["value_loss"] > 0
    assert "value/0" in learner.variables().training
    assert plain.keys() == shaped.keys()


@pytest.mark.slow
def test_a_resumed_run_goes_on_bit_for_bit(tmp_path):
    given = batches(5)
    whole, first, second = beside(ema=True), beside(ema=True), beside(ema=True)
    for step, batch in enumerate(given):
        whole.update(iter([batch]), step=step)
    for step, batch in enumerate(given[:3]):
        first.update(iter([batch]), step=step)
    TrainState(first.variables()).write(tmp_path)
    TrainState(second.variables()).read(tmp_path)
    for step, batch in enumerate(given[3:], 3):
        second.update(iter([batch]), step=step)
    got = second.variables().all()
    for name, value in numbers(whole.variables().all()).items():
        np.testing.assert_array_equal(value, got[name].numpy(), err_msg=name)


# -- Bundles ---------------------------------------------------------------------------------------


def bundle(folder, *, with_value: bool):
    policy = tiny_imitation.make().policy
    term = term_of(policy)
    kernel = term.head.output_proj.kernel
    kernel.assign(np.random.default_rng(0).standard_normal(kernel.shape))
    attached = {VALUE_WEIGHTS: value_file(term.stored())} if with_value else {}
    save_policy(folder, policy, PolicyInfo(policy.config), attached=attached)
    return policy, term


def test_a_bundle_may_hold_the_value_head_beside_the_policy(tmp_path):
    policy, term = bundle(tmp_path / "with", with_value=True)
    bundle(tmp_path / "without", with_value=False)
    names = {policy_bundle.CONFIG, policy_bundle.WEIGHTS, atomic.CHECKSUMS}
    assert {p.name for p in (tmp_path / "without").iterdir()} == names
    assert {p.name for p in (tmp_path / "with").iterdir()} == names | {VALUE_WEIGHTS}
    weights = [(tmp_path / f / policy_bundle.WEIGHTS).read_bytes() for f in ("with", "without")]
    assert weights[0] == weights[1]
    for folder in ("with", "without"):
        loaded, _ = load_policy(tmp_path / folder)
        assert named_weights(loaded).keys() == named_weights(policy).keys()
    stored = load_value_head(tmp_path / "with", stop_gradient=False)
    assert stored is not None
    x = tf.random.normal((3, term.head.width))
    np.testing.assert_array_equal(stored.head(x), term.head(x))
    assert (stored.half_life_frames, stored.head.stop_gradient) == (30, False)
    assert load_value_head(tmp_path / "without") is None


def rewritten(folder, **changes):
    """Another `value.safetensors` in a sound bundle."""
    bundle(folder, with_value=True)
    path = folder / VALUE_WEIGHTS
    weights = safetensors.numpy.load_file(path)
    facts = {"width": 21, "hidden": [6], "half_life_frames": 30.0} | changes
    with atomic.publish(folder) as temporary:
        content = safetensors.numpy.save(weights, metadata={"value_head": json.dumps(facts)})
        atomic.write_bytes(temporary / VALUE_WEIGHTS, content)
    return folder


@pytest.mark.parametrize(
    "changes",
    [{"width": 22}, {"hidden": [2**30]}, {"hidden": 7}, {"half_life_frames": None}],
    ids=str,
)
def test_a_file_that_is_no_value_head_is_refused(tmp_path, changes):
    assert load_value_head(rewritten(tmp_path / "sound")) is not None
    with pytest.raises(UserError, match="not a sound policy bundle: value"):
        load_value_head(rewritten(tmp_path / "other", **changes))


def test_a_damaged_value_head_is_refused(tmp_path):
    bundle(tmp_path / "policy", with_value=True)
    path = tmp_path / "policy" / VALUE_WEIGHTS
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="value.safetensors: its bytes changed"):
        load_value_head(tmp_path / "policy")
    head = ValueHead(4)
    head.output_proj.bias.assign([np.nan])
    with pytest.raises(ValueError, match="NaN or infin"):
        value_file(term_of(tiny_imitation.make().policy).stored()._replace(head=head))
