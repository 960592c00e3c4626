"""ONNX Runtime sessions with the options that play was measured fastest with.

One frame is a hundred small operations one after another, so a session runs them in order on
`threads` threads. Where the batch is known when the session opens, it is made static.

Tried in interleaved rounds on a quantized and a float graph of a 2-layer Mamba, one row: without
memory patterns 12 % slower, without prepacked weights up to 10 times, without the arena the same,
any other level of graph optimization the same. A second thread wins on float products of many rows
only; for one quantized row it costs 5 %, and 35 % where its waiting does not spin.
"""

from pathlib import Path

import onnxruntime as ort

MODEL = "policy.onnx"
"""Name of the graph in a bundle."""
BATCH = "batch"
"""Name of the symbolic first axis of an exported graph."""


def session_options(
    *, threads: int = 1, batch_size: int | None = None, profile: Path | None = None
) -> ort.SessionOptions:
    """Options of a session that plays one frame after another.

    Args:
      threads: that one call may use; 1 is fastest for a single row.
      batch_size: rows of every call, if they are known, which makes it a little faster; None leaves
        the batch symbolic.
      profile: how the file begins in which the session notes the time of each operation.

    Raises: ValueError: if there is no thread or no row.
    """
    if threads < 1 or (batch_size is not None and batch_size < 1):
        raise ValueError(f"session: want threads ≥ 1, rows ≥ 1. Received: {threads}, {batch_size}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    # A buffer for every value instead of reused ones: 4 to 6 % faster, a few hundred kB per row.
    options.enable_mem_reuse = False
    # A recurrent state that fades through denormal numbers would slow the processor a hundredfold.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    # Processors without VNNI add pairs of products of u8 and s8 in 16 bits, which overflow. There,
    # ONNX Runtime turns such products into u8 x u8 ones.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if batch_size is not None:
        options.add_free_dimension_override_by_name(BATCH, batch_size)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    return options


def open_session(model: bytes, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """Opens a serialised graph on the CPU, with `session_options()` unless told otherwise."""
    return ort.InferenceSession(
        model, options or session_options(), providers=["CPUExecutionProvider"]
    )
