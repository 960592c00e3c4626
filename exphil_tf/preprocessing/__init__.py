"""From one replay to records, and what only a whole collection can decide; without Beam."""
