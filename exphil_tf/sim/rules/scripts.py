"""Scripted players, as rules over a match's state.

A script sees the match as it stands and says what is held on the next frame. It remembers nothing:
what a hand has to remember (a button must be let go before it is pressed again) it reads off the
controller of the frame before, and chance is a hash of the match's seed, the frame and the seat. So
a script's play is a function of the match alone.
"""

from exphil_tf.sim.compiled import kernel, rule


@kernel
def play_scripts(matches, scripts, pads, tables):
    """Fills in the controllers of those who are played by scripts.

    Args:
      matches: `MATCH` `[matches]`, as they stand.
      scripts: int8 `[matches, 2]`: places in `SCRIPTS`, or `EXTERNAL`.
      pads: `INPUT` `[matches, 2]`, written.
      tables: `TABLES` `[1]`.
    """
    for at in range(len(matches)):
        for seat in range(2):
            if scripts[at, seat] >= 0 and not matches[at].over:
                pad = pads[at, seat]
                _let_go(pad)


@rule
def _let_go(pad):
    pad.stick_x = 0.0
    pad.stick_y = 0.0
    pad.c_x = 0.0
    pad.c_y = 0.0
    pad.trigger = 0.0
    pad.buttons = 0
