#!/bin/bash
# root.sh WORK [ARCH]: makes a minimal Debian with systemd as WORK/rootfs-ARCH.tar.zst (83 MB, once).
#
# Needs root and: apt-get install --no-install-recommends mmdebstrap zstd; for arm64 on another
# machine also qemu-user-static arch-test.
set -euo pipefail
WORK=$1 ARCH=${2:-$(dpkg --print-architecture)}
rootfs=$WORK/rootfs-$ARCH.tar.zst

if [ ! -e "$rootfs" ]; then
    # The programs of another architecture are run by an emulator that the kernel knows of.
    if [ "$ARCH" = arm64 ] && [ "$(dpkg --print-architecture)" != arm64 ]; then
        formats=/proc/sys/fs/binfmt_misc
        mountpoint -q "$formats" || mount -t binfmt_misc binfmt_misc "$formats"
        [ -e "$formats/qemu-aarch64" ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf > "$formats/register"
    fi
    mmdebstrap --quiet --arch="$ARCH" --variant=minbase \
        --include=systemd,systemd-sysv,dbus,udev,kmod,iproute2,python3,procps \
        --aptopt='Acquire::Languages "none"' bookworm "$rootfs.part.tar.zst" \
        "$(apt-get indextargets --format '$(REPO_URI)' | head -n 1)"
    mv "$rootfs.part.tar.zst" "$rootfs"
fi
