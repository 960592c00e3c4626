"""Records on disk: chunks of games in TFRecord shards, and the manifest that makes a dataset."""
