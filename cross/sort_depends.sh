#!/bin/bash
# sort_depends.sh DEB: the same package with its dependencies in alphabetical order. cargo-deb 2.0
# writes them in an order of chance, and two builds would not be the same bytes.
set -euo pipefail
deb=$(readlink -f "$1")
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
cd "$work"
ar x "$deb" control.tar.xz
mkdir control
tar -C control -xf control.tar.xz
sorted=$(sed -n 's/^Depends: //p' control/control | tr ',' '\n' | sed 's/^ *//' | LC_ALL=C sort | paste -sd, | sed 's/,/, /g')
sed -i "s/^Depends: .*/Depends: $sorted/" control/control
tar --sort=name --mtime="@${SOURCE_DATE_EPOCH:-0}" --owner=0 --group=0 --numeric-owner -C control -c . \
    | xz -6 > control.tar.xz
# D: no times, no owners.
ar rD "$deb" control.tar.xz
