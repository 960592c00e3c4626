#!/usr/bin/env bash
# Shows how a run goes, until Ctrl-C: GPU, memory, frames per second, losses, checkpoints, log.
#
#   monitor.sh [RUN] [any option of exphil_tf.runs watch]
#
# Without a RUN it is the one of /workspace/checkpoints that was written to last.
set -euo pipefail
# shellcheck source=scripts/storage.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/storage.sh"

exec "$PYTHON" -m exphil_tf.runs watch "$@" --runs-dir "${CHECKPOINT_DIR:-$WORKSPACE/checkpoints}"
