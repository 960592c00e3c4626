"""Apache Beam jobs: datasets, collection reports, stick centres. Only this package imports Beam."""

import logging


def _is_worth_saying(record: logging.LogRecord) -> bool:
    """Beam warns at every import that Google's client libraries, an extra, are not installed."""
    return "apitools not found" not in record.getMessage()


logging.getLogger().addFilter(_is_worth_saying)
