#!/usr/bin/env bash
# Makes a pod ready, in five steps: folders, GPU, storage, replays, the doctor.
#
#   setup_workspace.sh [--skip-replays]
set -euo pipefail
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/storage.sh
source "$here/storage.sh"

show_help "${BASH_SOURCE[0]}" "$@"
skip=
case ${1:-} in
  --skip-replays) skip=yes ;;
  "") ;;
  *) refuse "$1" "--skip-replays or nothing" ;;
esac

echo "1/5 folders in $WORKSPACE"
mkdir -p "$REPLAY_DIR" "$WORKSPACE"/{checkpoints,datasets,logs}
echo "2/5 GPU"
if command -v nvidia-smi >/dev/null; then
  nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader ||
    echo "note: nvidia-smi fails: the machine's driver does not work"
else
  echo "note: no nvidia-smi: this machine has no GPU, or Docker was started without --gpus all"
fi
echo "3/5 storage"
address=$(address_of artifacts)
if [[ -n $address ]]; then
  echo "$address"
  sync list "$address" | tail -1 || echo "note: the store does not answer"
else
  not_configured
fi
echo "4/5 replays"
if [[ -n $skip ]]; then echo "skipped"; else "$here/fetch_replays.sh"; fi
echo "5/5 doctor"
"$PYTHON" -m exphil_tf.doctor --replays "$REPLAY_DIR" --work-dir "$WORKSPACE" ||
  echo "note: the doctor found something; see above"
echo "Next: tmux new -s train, then $here/gpu_train.sh --preset gpu_quick"
