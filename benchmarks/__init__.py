"""Speed of preprocessing, input and training: `python -m benchmarks`."""
