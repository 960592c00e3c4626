"""ExPhil-TF: Super Smash Bros. Melee bots, from Slippi replays to live play."""

import sys

__version__ = "0.1.0"

# `python -m exphil_tf.train` imports this first, and a second of other imports after it: from here
# on a signal gets its line and its exit code. Whoever imports the package as a library keeps their
# own handlers.
if getattr(sys, "argv", [""])[:1] == ["-m"]:
    from exphil_tf.process import output as _output
    from exphil_tf.process import signals as _signals

    _output.open_standard_descriptors()
    _signals.install()
