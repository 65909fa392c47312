#!/bin/bash
# kernel.sh WORK [ARCH]: Debian's kernel and busybox in WORK/kernel-ARCH (130 MB, downloaded once).
#
# Needs kmod; for another architecture dpkg --add-architecture ARCH && apt-get update.
set -euo pipefail
ARCH=${2:-$(dpkg --print-architecture)}
folder=$1/kernel-$ARCH
[ ! -e "$folder/.done" ] || exit 0
package=$(apt-cache depends "linux-image-$ARCH:$ARCH" | awk '/Depends: linux-image/ {print $2; exit}')
[ -n "$package" ] || { echo "kernel.sh: apt knows no kernel for $ARCH"; exit 1; }
rm -rf "$folder" && mkdir -p "$folder/packages"
(cd "$folder/packages" && apt-get download -q "$package" "busybox-static:$ARCH")
for file in "$folder"/packages/*.deb; do dpkg-deb -x "$file" "$folder"; done
rm -r "$folder/packages"
depmod -b "$folder" "$(ls "$folder/lib/modules")"
touch "$folder/.done"
