#!/bin/sh
# Puts the plan into one comment of the pull request, the same one each time. Needs `gh` and GH_TOKEN.
#
#   comment.sh plan.md
set -eu

plan=$1
marker='<!-- tekton-ai plan -->'

if [ -z "${GH_TOKEN:-}" ]; then
  echo "no token: no comment" >&2
  exit 0
fi
# refs/pull/123/merge
number=${GITHUB_REF#refs/pull/}
number=${number%%/*}
case $number in
  '' | *[!0-9]*)
    echo "no pull request: no comment" >&2
    exit 0
    ;;
esac

body=$(mktemp)
trap 'rm -f "$body"' EXIT
{ echo "$marker"; cat "$plan"; } >"$body"

comments="repos/$GITHUB_REPOSITORY/issues/$number/comments"
jq=".[] | select(.user.type == \"Bot\" and (.body | startswith(\"$marker\"))) | .id"
id=$(gh api --paginate "$comments" --jq "$jq" | head -n 1)
if [ -n "$id" ]; then
  gh api --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$id" -F "body=@$body" >/dev/null
else
  gh api --method POST "$comments" -F "body=@$body" >/dev/null
fi
