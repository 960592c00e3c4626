"""What became of the files of a dataset, as a table."""

from rich.table import Table

from exphil_tf.records.manifest import Manifest


def summary(manifest: Manifest, *, elapsed_s: float | None = None) -> Table:
    """The final table: files, games, frames, rejects by reason, bytes and speed."""
    totals = manifest.totals
    table = Table("what", "count", title="Dataset", title_justify="left")
    table.columns[1].justify = "right"
    table.add_row("files", f"{totals.files:,}")
    table.add_row("games", f"{totals.games:,}")
    for split, variants in sorted(manifest.splits.items()):
        stored = ", ".join(variants)
        table.add_row(f"  {split} ({stored})", f"{manifest.stats[split].games:,}")
    table.add_row("frames", f"{totals.frames:,}")
    table.add_row("rejected", f"{totals.rejected:,}")
    for reason, count in sorted(manifest.rejects.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(f"  {reason}", f"{count:,}")
    table.add_row("players with an id", f"{len(manifest.players):,}")
    table.add_row("shards", f"{totals.shards:,}")
    table.add_row("bytes", f"{totals.bytes:,}")
    table.add_row("bytes per frame and perspective", f"{totals.bytes_per_perspective_frame:.1f}")
    if elapsed_s is not None:
        table.add_row("seconds", f"{elapsed_s:.1f}")
        table.add_row("frames/s", f"{totals.frames / max(elapsed_s, 1e-9):,.0f}")
    return table
