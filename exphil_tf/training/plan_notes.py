"""What is said of a run before it starts: how long it is, and whether there is enough to learn."""

from exphil_tf.training.plan import Plan

FEW_UPDATES = 500
"""With fewer a policy hardly learns more than to hold what it holds."""
FEW_FRAMES = 90_000
"""Labelled frames of about five games of two players."""
MANY_EPOCHS = 30
"""Passes after which a policy has most of its data by heart."""


def summary(plan: Plan) -> str:
    """One sentence."""
    horizon = plan.horizon
    return (
        f"plan: {horizon.total_steps:,} updates of {plan.frames_per_update:,.0f} labelled frames, "
        f"{horizon.epochs:.2f} epochs of {plan.train.labelled_frames:,}; "
        f"{plan.num_parameters:,} parameters"
    )


def cautions(plan: Plan) -> list[str]:
    """A sentence for each reason to expect little of a run."""
    frames, horizon = plan.train.labelled_frames, plan.horizon
    found = []
    if frames < FEW_FRAMES:
        found.append(
            f"{frames:,} labelled frames are little to learn from (a game of two players has about "
            "18,000): the policy will know these games by heart. More replays help most"
        )
    elif horizon.epochs > MANY_EPOCHS:
        found.append(
            f"{horizon.epochs:.0f} passes over the same frames: watch the validation loss, or give "
            "more replays"
        )
    if horizon.total_steps < FEW_UPDATES:
        found.append(
            f"{horizon.total_steps:,} updates are too few to learn much: a policy takes some "
            "thousand. Give --min-steps, more --epochs or a smaller --batch-size"
        )
    return found
