"""Records on disk: chunks of games as TFRecord shards, and the manifest that makes a folder a dataset."""
