#!/bin/bash
# Builds the transfer image of HEAD twice, from two checkouts in two places and with nothing that was built before,
# and compares the digests. Takes twice a whole release build.
set -euo pipefail
cd "$(dirname "$0")/.."
commit=$(git rev-parse HEAD)
place=$(mktemp -d)
digests=()
tags=()
trap 'podman rmi --force "${tags[@]}" >/dev/null 2>&1 || true; rm -rf "$place"' EXIT
unset CARGO_TARGET_DIR

for name in first second; do
    checkout=$place/$name/checkout-of-the-$name
    git clone --quiet --no-checkout . "$checkout"
    git -C "$checkout" -c advice.detachedHead=false checkout --quiet "$commit"
    tag=localhost/barge-reproducible-$$:$name
    tags+=("$tag")
    "$checkout/images/build.sh" "$tag"
    digests+=("$(podman image inspect --format '{{.Digest}}' "$tag")")
    mv "$checkout/images/out" "$place/$name/out"
    rm -rf "$checkout"
    echo "The $name build of $commit: ${digests[-1]}"
done

if [ "${digests[0]}" != "${digests[1]}" ]; then
    echo 'The two builds differ:' >&2
    diff -rq "$place/first/out" "$place/second/out" >&2 || true
    exit 1
fi
echo 'Both builds have one digest.'
