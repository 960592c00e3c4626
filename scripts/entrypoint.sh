#!/usr/bin/env bash
# The images' entry point: runs what it is given.
#
#   (nothing), or options      python -m exphil_tf.train OPTIONS
#   exphil_tf.NAME …           python -m exphil_tf.NAME …
#   anything else              as it is: bash, /app/scripts/fetch_replays.sh && …
set -euo pipefail

for folder in runs datasets checkpoints; do
  place=/app/$folder
  if [[ -d $place && ! -w $place ]]; then
    echo "note: $place cannot be written to by user $(id -u): start the container with" \
      "--user \$(id -u):\$(id -g), or give the mounted folder to $(id -u)" >&2
  fi
done
case ${1:-} in
  "" | -*) exec python -m exphil_tf.train "$@" ;;
  exphil_tf | exphil_tf.*) exec python -m "$@" ;;
  *) exec "$@" ;;
esac
