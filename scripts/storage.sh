# shellcheck shell=bash
# Where replays and artifacts are stored, as the environment says. For the scripts beside it.
#
#   B2_KEY_ID B2_APP_KEY   with B2_BUCKET, or B2_REPLAYS and B2_ARTIFACTS apart
#   R2_ACCESS_KEY R2_SECRET_KEY R2_ENDPOINT   with R2_BUCKET
#   S3_BUCKET              with AWS' own variables
#   STORE_DIR              a mounted folder instead of a bucket
#
# Keys stay in the environment: nothing here writes or prints them.

PYTHON=${PYTHON:-python}
WORKSPACE=${WORKSPACE:-/workspace}
REPLAY_DIR=${REPLAY_DIR:-$WORKSPACE/replays}
export REPLAY_DIR

# Prints the address of what is stored; nothing if no storage is configured.
#   address_of replays|artifacts
address_of() {
  local b2=${B2_BUCKET:-}
  case $1 in
    replays) b2=${B2_REPLAYS:-$b2} ;;
    artifacts) b2=${B2_ARTIFACTS:-$b2} ;;
  esac
  if [[ -n ${STORE_DIR:-} ]]; then
    echo "$STORE_DIR"
  elif [[ -n ${B2_KEY_ID:-}${B2_KEY_ID_FILE:-} && -n $b2 ]]; then
    echo "b2:$b2"
  elif [[ -n ${R2_ACCESS_KEY:-}${R2_ACCESS_KEY_FILE:-} && -n ${R2_BUCKET:-} ]]; then
    echo "r2:$R2_BUCKET"
  elif [[ -n ${S3_BUCKET:-} ]]; then
    echo "s3:$S3_BUCKET"
  fi
}

not_configured() {
  echo "No cloud storage configured: set B2_KEY_ID, B2_APP_KEY and B2_BUCKET, or R2_ACCESS_KEY," \
    "R2_SECRET_KEY, R2_ENDPOINT and R2_BUCKET." >&2
}

# Prints what stands at the head of a script and ends, if the first argument asks for help.
#   show_help SCRIPT "$@"
show_help() {
  if [[ ${2:-} == -h || ${2:-} == --help ]]; then
    sed -n '2,${/^#/!q;s/^# \{0,1\}//p}' "$1"
    exit 0
  fi
}

# Ends with an error about an argument that a script does not take.
#   refuse ARGUMENT WANTED
refuse() {
  echo "error: $1: want $2" >&2
  exit 2
}

# Ends with an error if the first argument has no value behind it.
#   want_value "$@"
want_value() {
  if [[ $# -lt 2 ]]; then
    echo "error: $1: want a value. Received: nothing" >&2
    exit 2
  fi
}

sync() { "$PYTHON" -m exphil_tf.sync "$@"; }
