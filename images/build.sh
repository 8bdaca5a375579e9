#!/bin/bash
# Builds the transfer image [as TAG] from this checkout and Debian's bash-static and ca-certificates;
# nothing is pulled. Nothing of the time or the place of a build goes into it. Leaves images/out/sbom.spdx.json.
set -euo pipefail
cd "$(dirname "$0")/.."
tag=${1:-localhost/barge-transfer:latest}
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
out=$PWD/images/out
root=$out/rootfs

# No path of this machine is in the binary, so it is the same wherever it is built.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
export RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$cargo_home=/cargo --remap-path-prefix=$PWD=/barge"
export CARGO_PROFILE_RELEASE_STRIP=debuginfo
target=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --locked --target "$target" -p barge-agent

rm -rf "$out"
images/rootfs.sh "target/$target/release/barge" "$root"

images/sbom.sh "$target" > "$out/sbom.spdx.json"

build=(podman build)
command -v podman >/dev/null || build=(buildah build)
"${build[@]}" --quiet --no-cache --timestamp "$SOURCE_DATE_EPOCH" --tag "$tag" \
    --file images/Containerfile "$out"
