"""The backbones between embedding and head, by the name that `--backbone` takes.

To add one: write its layer, a `Backbone`, in a file of its own, and its options in
`backbone_options`, in whose table it is listed. Nothing else names the backbones. Free of Keras.
"""

from typing import Any

from exphil_tf.foundation.kinds import Kind, family
from models.backbones.backbone_options import BACKBONES, BackboneConfig

__all__ = ["BACKBONES", "CALLED", "DEFAULT", "BackboneConfig", "backbone_config", "backbone_family"]

DEFAULT = "tx_like"
WITHOUT_MEMORY = "mlp"
"""What `--no-temporal` means."""
WITH_MEMORY = "lstm"
"""What `--temporal` means where no backbone with memory is named."""
CALLED = {"attention": "sliding_window", "lstm_hybrid": "hybrid", "mamba_nif": "mamba"}
"""Names that users of the original trainer know; what is saved holds ours."""


def backbone_config(backbone: str = DEFAULT, **options: Any) -> BackboneConfig:
    """The options of a backbone.

    Args:
      backbone: its name.
      options: those that are not at their default.

    Raises: ValueError: if there is no such backbone, or a value is out of range; TypeError: if it
      has no such option.
    """
    if backbone not in BACKBONES:
        raise ValueError(
            f"backbone: want one of {', '.join(BACKBONES)}. Received: {backbone!r:.80}"
        )
    return BACKBONES[backbone](**options)


def backbone_family(default: str = DEFAULT, *, doc: str = "The backbone", **common: Any) -> Any:
    """A dataclass's field that holds the options of the backbone that `--backbone` names.

    Args:
      default: name of the backbone where none is given.
      doc: what it is, for help.
      common: defaults that differ from the backbones' own.
    """
    without = ", ".join(name for name, cls in BACKBONES.items() if not cls.has_memory)
    return family(
        BACKBONES,
        by="backbone",
        kind=Kind.NETWORK,
        default=default,
        common=common,
        implied={("temporal", False): WITHOUT_MEMORY},
        suggested={
            ("temporal", True): (
                WITH_MEMORY,
                frozenset(name for name, cls in BACKBONES.items() if cls.has_memory),
            )
        },
        called=CALLED,
        doc=f"{doc}; without memory: {without}.",
    )
