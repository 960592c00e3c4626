#!/usr/bin/env bash
# Trains on a pod: what it prints is also kept, what it makes is copied to the store.
#
#   gpu_train.sh --preset rtx4090_quick [--replays DIR] [any option of exphil_tf.train]
#
# Without a --replays or --data it takes REPLAY_DIR; runs go to /workspace/checkpoints. If the
# environment has a store, the run is copied there (`train --sync`), unless --sync is given.
set -euo pipefail
# shellcheck source=scripts/storage.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/storage.sh"

# Whether one of these options is among the arguments.
#   has "--a|--b" "$@"
has() {
  local names=$1 word
  shift
  for word in "$@"; do
    if [[ $word =~ ^($names)(=.*)?$ ]]; then return 0; fi
  done
  return 1
}

# Whether a run's folder is given, which knows its replays; --resume auto names none.
names_a_run() {
  local before="" word
  for word in "$@"; do
    case $before$word in
      --resume=auto) ;;
      --resume=*) return 0 ;;
    esac
    before=
    if [[ $word == --resume ]]; then before=--resume=; fi
  done
  return 1
}

command -v nvidia-smi >/dev/null || echo "note: no nvidia-smi: this trains on the CPU" >&2
[[ -n ${TMUX:-} ]] || echo "note: not in tmux: the run ends with this connection" >&2
options=()
if ! names_a_run "$@"; then
  if ! has "--replays|--data|--input|-h|--help" "$@"; then options+=(--replays "$REPLAY_DIR"); fi
  if ! has "--run-dir|--runs-dir|--output|--checkpoint" "$@"; then
    options+=(--runs-dir "$WORKSPACE/checkpoints")
  fi
fi
if ! has "--datasets-dir" "$@"; then options+=(--datasets-dir "$WORKSPACE/datasets"); fi
address=$(address_of artifacts)
if [[ -n $address ]] && ! has "--sync" "$@"; then options+=(--sync "$address/checkpoints"); fi
mkdir -p "$WORKSPACE"/{checkpoints,datasets,logs}
log=$WORKSPACE/logs/train_$(date +%Y%m%d_%H%M%S).log
echo "log: $log"
# exec: signals reach the trainer, which then saves. tee outlives Ctrl-C, to write its last lines.
exec "$PYTHON" -m exphil_tf.train "$@" "${options[@]}" > >(trap '' INT && exec tee -a "$log") 2>&1
