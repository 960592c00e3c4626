#!/usr/bin/env bash
# Fetches replays from Backblaze B2, or Cloudflare R2, into REPLAY_DIR (/workspace/replays).
#
#   fetch_replays.sh
#
# REPLAY_SUBDIR names a folder in the bucket (mewtwo). What is here already is not fetched again.
# Without storage in the environment it says so and ends well, so that a pod starts all the same.
set -euo pipefail
# shellcheck source=scripts/storage.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/storage.sh"

show_help "${BASH_SOURCE[0]}" "$@"
if [[ $# -gt 0 ]]; then refuse "$1" "no argument: REPLAY_DIR and REPLAY_SUBDIR say what and where"; fi
address=$(address_of replays)
if [[ -z $address ]]; then
  not_configured
  exit 0
fi
mkdir -p "$REPLAY_DIR"
if [[ -n ${STORE_DIR:-} ]]; then address+=/replays; fi
sync down "$address${REPLAY_SUBDIR:+/$REPLAY_SUBDIR}" "$REPLAY_DIR${REPLAY_SUBDIR:+/$REPLAY_SUBDIR}"
count=$(find -L "$REPLAY_DIR" -type f \( -name '*.slp' -o -name '*.zip' -o -name '*.tar*' \) | wc -l)
echo "$count replays and archives in $REPLAY_DIR, $(du -shL "$REPLAY_DIR" | cut -f1)"
