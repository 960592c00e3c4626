"""Fitting a policy to replays: losses, schedules, the update, the loop around it, its telemetry."""
