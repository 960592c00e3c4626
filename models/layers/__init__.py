"""Building blocks of the policies: embedding, scans, Mamba, attention, recurrence."""
