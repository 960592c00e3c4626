"""Every rewrite of the exported graph pays, seen by leaving it out; docs/adr/0006 has the figures.

Counts are asserted and no times: what ONNX Runtime's own optimised graph is made of decides how
long a frame takes, and two rewrites that only change which operator does the work are listed so.
"""

import functools
from typing import NamedTuple

import numpy as np
import pytest
import traced_policies as policies
from onnx_graphs import operators, optimised, run

from exphil_tf.exporting.convert import Converted, convert_traced
from exphil_tf.exporting.onnx import clean, fuse
from exphil_tf.exporting.onnx.int8 import NotOnGrid
from exphil_tf.exporting.tf_to_onnx import Traced, trace
from exphil_tf.exporting.verify_int8 import NotInteger, example_feeds

pytestmark = pytest.mark.slow


class Kind(NamedTuple):
    """What is exported."""

    backbone: str
    rounding: str | None = None
    frames: int = 0
    batch_size: int | None = None
    head: str = "autoregressive"


ROWS = 4
KINDS = [
    *(Kind(backbone) for backbone in policies.BACKBONES),
    *(Kind(backbone, "dynamic", batch_size=ROWS) for backbone in policies.BACKBONES),
    *(Kind(backbone, "moving_average", frames=3) for backbone in policies.BACKBONES),
    *(Kind(backbone, head="independent") for backbone in ("mamba", "mlp")),
]
PAYS_BY = {
    # Without it, a product has no integer kernel.
    "gemm": "integers",
    "tensordot": "integers",
    # Without it, the graph answers otherwise than the network.
    "remainder": "answers",
    # Without it, ONNX Runtime runs more operators.
    **dict.fromkeys(
        ("slice", "choice", "gather", "casts", "rms_norm", "layer_norm", "centred_norm",
         "skip_norm"),
        "operators",
    ),
    # Without it, a slower operator does the work: 5 % and 2 % of a frame of a Mamba of 256 × 2.
    "softplus": "time",
    "row_sum": "time",
}  # fmt: skip
RULES = {**clean.RULES, **fuse.RULES}


@functools.cache
def traced(kind: Kind) -> Traced:
    policy = policies.policy(kind.backbone, kind.rounding, kind.head)
    return trace(policy, batch_size=kind.batch_size, frames=kind.frames)


def converted(kind: Kind, *, without: str = "") -> Converted:
    policy = policies.policy(kind.backbone, kind.rounding, kind.head)
    with pytest.MonkeyPatch.context() as patch:
        for rules in (clean.RULES, fuse.RULES):
            if without in rules:
                patch.delitem(rules, without)
        precision = "float32" if kind.rounding is None else "int8-qat"
        return convert_traced(traced(kind), policy=policy, precision=precision)


@functools.cache
def whole(kind: Kind) -> Converted:
    return converted(kind)


def outputs(model) -> list[np.ndarray]:
    return run(model, **example_feeds(model, rows=ROWS))


def test_every_rule_is_accounted_for():
    assert set(PAYS_BY) == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_pays(rule, tmp_path):
    fired = [kind for kind in KINDS if whole(kind).rewrites[rule]]
    assert fired, "fires on no graph: remove it"
    gains = []
    for kind in fired:
        try:
            less = converted(kind, without=rule).model
        except (NotOnGrid, NotInteger):
            gains.append("integers")
            continue
        full = whole(kind).model
        nodes = [sum(operators(optimised(m, tmp_path)).values()) for m in (less, full)]
        gains += ["operators"] if nodes[0] > nodes[1] else []
        if rule == "remainder":
            gains.append("answers")  # tests/exporting/onnx/test_clean.py shows how
        elif kind.rounding is None:
            gains += ["time"] if nodes[0] <= nodes[1] else []
            for one, other in zip(outputs(less), outputs(full), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert PAYS_BY[rule] in gains


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_rules_leave_alone_what_no_rule_is_about(kind):
    """Which rules a kind of policy needs, so that one that stops firing is noticed."""
    found = {rule for rule, count in whole(kind).rewrites.items() if count} - {"tables"}
    wanted = {"slice", "casts"}
    wanted |= {"gather"} if kind.head == "autoregressive" else set()
    wanted |= {"gemm"} if kind.batch_size else set()
    wanted |= {"tensordot"} if kind.frames else set()
    wanted |= {
        "mamba": {"rms_norm", "skip_norm", "softplus"} | (set() if kind.frames else {"row_sum"}),
        "lstm": {"layer_norm"},
        "sliding_window": {
            "choice", "remainder", "rms_norm", "layer_norm", "centred_norm", "skip_norm",
        },
        "mlp": set(),
    }[kind.backbone]  # fmt: skip
    assert found == wanted
