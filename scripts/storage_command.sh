#!/usr/bin/env bash
# The nine helpers of a pod: this script, by the name that it is called by.
#
#   sync-all-up                                    checkpoints, logs and cache, to the store
#   sync-checkpoints-up, sync-logs-up, sync-cache-up
#   sync-checkpoints-down [--snapshot DATE], sync-cache-down
#   sync-snapshot [DATE]                           as of today, or of a date
#   list-snapshots, list-checkpoints [--local]
#
# Nothing is deleted, here or there; what is the same is skipped, links are followed.
set -euo pipefail
# shellcheck source=scripts/storage.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/storage.sh"

name=$(basename "$0")
checkpoints=${CHECKPOINT_DIR:-$WORKSPACE/checkpoints}
logs=$WORKSPACE/logs
cache=$WORKSPACE/datasets
show_help "${BASH_SOURCE[0]}" "$@"
case "$name $*" in
  "list-checkpoints --local" | "sync-checkpoints-down --snapshot"* | "sync-snapshot "[!-]*) ;;
  "$name ") ;;
  *) refuse "$*" "what $name --help says" ;;
esac
if [[ $name == list-checkpoints && ${1:-} == --local ]]; then
  exec "$PYTHON" -m exphil_tf.runs list --runs-dir "$checkpoints"
fi
address=$(address_of artifacts)
if [[ -z $address ]]; then
  not_configured
  exit 1
fi

# Copies a folder up, if there is anything in it.
up() {
  if [[ -d $1 && -n $(ls -A "$1") ]]; then sync up "$1" "$2"; else echo "$1: nothing to copy"; fi
}

down() {
  mkdir -p "$2"
  sync down "$1" "$2"
}

case $name in
  sync-all-up)
    up "$checkpoints" "$address/checkpoints"
    up "$logs" "$address/logs"
    up "$cache" "$address/cache"
    ;;
  sync-checkpoints-up) up "$checkpoints" "$address/checkpoints" ;;
  sync-logs-up) up "$logs" "$address/logs" ;;
  sync-cache-up) up "$cache" "$address/cache" ;;
  sync-checkpoints-down)
    place=$address/checkpoints
    if [[ ${1:-} == --snapshot ]]; then
      want_value "$@"
      place=$address/snapshots/$2/$(basename "$checkpoints")
    fi
    down "$place" "$checkpoints"
    ;;
  sync-cache-down) down "$address/cache" "$cache" ;;
  sync-snapshot)
    for folder in "$checkpoints" "$logs"; do
      if [[ -d $folder && -n $(ls -A "$folder") ]]; then
        sync snapshot "$folder" "$address" ${1:+--date "$1"}
      else
        echo "$folder: nothing to copy"
      fi
    done
    ;;
  list-snapshots) sync list "$address/snapshots" ;;
  list-checkpoints) sync list "$address/checkpoints" ;;
  *)
    echo "error: $name: call it by one of the names in scripts/bin" >&2
    exit 2
    ;;
esac
