#!/usr/bin/env bash
# Copies runs to the store every ten minutes, and a last time when it is told to end.
#
#   auto_sync_checkpoints.sh [--interval 600] [--once] [--checkpoint-dir /workspace/checkpoints]
#
# `train --sync` does the same from inside a run, after each checkpoint; this is for all runs of a
# folder, whoever trains them. Nothing is deleted on the store.
set -euo pipefail
# shellcheck source=scripts/storage.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/storage.sh"

show_help "${BASH_SOURCE[0]}" "$@"
folder=${CHECKPOINT_DIR:-$WORKSPACE/checkpoints}
options=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --interval) want_value "$@" && options+=(--interval "$2") && shift 2 ;;
    --checkpoint-dir) want_value "$@" && folder=$2 && shift 2 ;;
    --once) options+=(--once) && shift ;;
    *) refuse "$1" "--interval, --once or --checkpoint-dir" ;;
  esac
done
address=$(address_of artifacts)
if [[ -z $address ]]; then
  not_configured
  exit 1
fi
mkdir -p "$folder"
# exec: the signal that ends this script reaches the copying itself.
exec "$PYTHON" -m exphil_tf.sync watch "$folder" "$address/checkpoints" "${options[@]}"
