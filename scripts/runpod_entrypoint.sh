#!/usr/bin/env bash
# What a pod does when it starts; then runs its arguments, or waits.
#
#   runpod_entrypoint.sh [COMMAND …]     as a start command
#   source runpod_entrypoint.sh          makes the helpers known to this shell
#
# SYNC_REPLAYS=1 fetches replays, SYNC_CHECKPOINTS_DOWN=1 runs. PUBLIC_KEY, as RunPod sets it, lets
# its owner in by SSH, on port SSH_PORT (22; 2222 if the image's user is not root).
# Helpers: sync-all-up, sync-checkpoints-up, sync-logs-up, sync-cache-up, sync-checkpoints-down
# [--snapshot DATE], sync-cache-down, sync-snapshot [DATE], list-snapshots,
# list-checkpoints [--local].
_exphil_scripts=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
export PATH="$_exphil_scripts/bin:$PATH"
# Sourced: the helpers are all that is wanted.
if [[ ${BASH_SOURCE[0]} != "$0" ]]; then return 0; fi

set -euo pipefail
# shellcheck source=scripts/storage.sh
source "$_exphil_scripts/storage.sh"
show_help "${BASH_SOURCE[0]}" "$@"

start_sshd() {
  local folder=$HOME/.ssh port=${SSH_PORT:-22}
  if [[ $(id -u) -ne 0 ]]; then port=${SSH_PORT:-2222}; else mkdir -p /run/sshd; fi
  mkdir -p "$folder" && chmod 700 "$folder"
  echo "$PUBLIC_KEY" >"$folder/authorized_keys"
  chmod 600 "$folder/authorized_keys"
  [[ -f $folder/host_key ]] || ssh-keygen -q -t ed25519 -N '' -f "$folder/host_key"
  # Shells that come in by SSH know the variables of the pod, which are written nowhere.
  if ! grep -qs pod_environment "$HOME/.bashrc"; then
    printf 'source %q\n' "$_exphil_scripts/pod_environment.sh" >>"$HOME/.bashrc"
  fi
  "$(command -v sshd)" -p "$port" -h "$folder/host_key" -o PasswordAuthentication=no \
    -o "AuthorizedKeysFile=$folder/authorized_keys" -o UsePAM=no -o "PidFile=$folder/sshd.pid"
  echo "sshd on port $port"
}

mkdir -p "$REPLAY_DIR" "$WORKSPACE"/{checkpoints,datasets,logs}
# The names that the documents use; what is there already stays.
for name in checkpoints datasets logs; do
  if [[ ! -e /app/$name && -w /app ]]; then ln -s "$WORKSPACE/$name" "/app/$name"; fi
done
if [[ -n ${PUBLIC_KEY:-} ]] && command -v sshd >/dev/null; then start_sshd; fi
if [[ ${SYNC_REPLAYS:-} == 1 ]]; then "$_exphil_scripts/fetch_replays.sh"; fi
if [[ ${SYNC_CHECKPOINTS_DOWN:-} == 1 ]]; then "$_exphil_scripts/bin/sync-checkpoints-down"; fi
if [[ $# -gt 0 ]]; then exec "$@"; fi
exec sleep infinity
