"""The precisions that a policy is exported at; free of TensorFlow, for the command's options."""

from typing import Literal

Precision = Literal["float32", "int8-qat", "int8-static", "int8-dynamic"]

PARITY_DEMANDS: dict[str, Literal["exact", "quantized"]] = {
    "float32": "exact",
    "int8-qat": "quantized",
}
"""How alike an export and its network must play; others are measured only."""
