#!/bin/sh
# Checks fleet files and plans them against the branch that they are to be merged into. Changes nothing.
#
#   TEKTON_AI          the program; default: tekton-ai
#   TEKTON_AI_FILES    files or folders, one a line; default: the nearest tekton-ai.yaml
#   TEKTON_AI_AGAINST  what to compare with; default: the target branch of the pull or merge request
#   TEKTON_AI_OUT      folder for plan.md, plan.json and reports; default: tekton-ai-plan
#
# Ends with 0 whether or not anything differs, and with the program's own code where the input is wrong (4) or it failed.
set -eu

program=${TEKTON_AI:-tekton-ai}
out=${TEKTON_AI_OUT:-tekton-ai-plan}
base=${GITHUB_BASE_REF:-${CI_MERGE_REQUEST_TARGET_BRANCH_NAME:-}}
against=${TEKTON_AI_AGAINST:-}

set --
while IFS= read -r file; do
  [ -z "$file" ] || set -- "$@" -f "$file"
done <<FILES
${TEKTON_AI_FILES:-}
FILES

# Where there is no `timeout` the CI's own limit holds.
limited() {
  if command -v timeout >/dev/null 2>&1; then timeout 300 "$@"; else "$@"; fi
}

log=text
[ -z "${GITHUB_ACTIONS:-}" ] || log=github
mkdir -p "$out"

if [ -n "${GITLAB_CI:-}" ]; then
  limited "$program" validate "$@" -o gitlab >"$out/gl-code-quality-report.json" || exit $?
fi
limited "$program" validate "$@" -o "$log" || exit $?

if [ -z "$against" ]; then
  if [ -z "$base" ]; then
    echo "no pull or merge request, and TEKTON_AI_AGAINST is not set: nothing to compare with" >&2
    exit 0
  fi
  against="origin/$base"
  # A checkout of a CI has one commit of one branch.
  if ! git rev-parse --verify --quiet "$against^{commit}" >/dev/null; then
    limited git fetch --quiet --depth=1 origin "+refs/heads/$base:refs/remotes/origin/$base" || exit $?
  fi
fi

code=0
limited "$program" plan --against "$against" "$@" --detailed-exitcode -o markdown >"$out/plan.md" || code=$?
case $code in
  0) changed=false ;;
  2) changed=true ;;
  *) exit "$code" ;;
esac
limited "$program" plan --against "$against" "$@" -o json >"$out/plan.json" || exit $?
limited "$program" plan --against "$against" "$@" -o "$log" || exit $?

if [ -n "${GITLAB_CI:-}" ]; then
  limited "$program" plan --against "$against" "$@" -o gitlab >"$out/gl-code-quality-report.json" || exit $?
  limited "$program" plan --against "$against" "$@" -o junit >"$out/junit.xml" || exit $?
  printf 'TEKTON_AI_CHANGED=%s\n' "$changed" >"$out/plan.env"
fi
if [ -n "${GITHUB_OUTPUT:-}" ]; then
  printf 'changed=%s\nplan=%s\n' "$changed" "$out/plan.md" >>"$GITHUB_OUTPUT"
fi
