"""From TFRecord shards to batches: packed rows, controller labels and loss weights of unrolls."""
