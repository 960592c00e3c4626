"""How good a policy is: metrics, the baselines it must beat, the report."""
