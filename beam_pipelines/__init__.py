"""Apache Beam jobs: replays → dataset, collection reports, stick centres. The only package that imports Beam."""
