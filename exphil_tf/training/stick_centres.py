"""The file of stick centres that `python -m exphil_tf.kmeans` writes."""

import json
from pathlib import Path

from exphil_tf.features.controller import ControllerCodec
from exphil_tf.foundation.errors import UserError
from exphil_tf.process.exit_codes import EXIT_DATA, EXIT_NO_INPUT


def read_centres(path: Path) -> tuple[float, ...]:
    """Bucket centres in [-1, 1], ascending and symmetric.

    Raises: UserError: if there is no such file (66), or it holds no centres (65).
    """
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"--kmeans-centers: {path}: no such file",
            "Fit some: python -m exphil_tf.kmeans.",
            exit_code=EXIT_NO_INPUT,
        ) from None
    except ValueError as error:
        raise _not_centres(path, str(error)) from error
    centres = values.get("axis_centres") if isinstance(values, dict) else values
    try:
        return ControllerCodec(axis_centres=tuple(float(v) for v in centres)).axis_centres  # type: ignore[union-attr]
    except (TypeError, ValueError) as error:
        raise _not_centres(path, str(error)) from error


def _not_centres(path: Path, reason: str) -> UserError:
    return UserError(
        f"--kmeans-centers: {path}: want JSON with a list `axis_centres` ({reason})",
        "Fit some: python -m exphil_tf.kmeans.",
        exit_code=EXIT_DATA,
    )
