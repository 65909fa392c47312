#!/bin/bash
# container.sh WORK DEB [DRIVER]
#
# Boots Debian's systemd in a container (systemd-nspawn; no virtual machine), installs the package
# DEB as an administrator would, and runs DRIVER (driver.sh beside this file) in it. Prints the
# driver's table; exit code 0 only if every row is as expected.
#
# Needs root and: apt-get install --no-install-recommends mmdebstrap systemd-container zstd
# Downloads a minimal Debian into WORK once (83 MB). Nothing of the host is changed.
set -euo pipefail
WORK=$(mkdir -p "$1" && readlink -f "$1") DEB=$(readlink -f "$2")
HERE=$(dirname "$(readlink -f "$0")")
DRIVER=$(readlink -f "${3:-$HERE/driver.sh}")
ARCH=$(dpkg --print-architecture)
ROOTFS=$WORK/rootfs-$ARCH.tar.zst

"$HERE/root.sh" "$WORK" "$ARCH"
box=$(mktemp -d "$WORK/box.XXXXXX")
trap 'rm -rf "$box"' EXIT
mkdir "$box/root" "$box/out"
tar -C "$box/root" --zstd -xf "$ROOTFS"
cp "$DEB" "$box/out/posewire.deb"
cp "$HERE"/*.py "$box/out/" 2> /dev/null || true
cp "$DRIVER" "$box/out/driver.sh"
# The driver is a unit of its own, and the machine ends with it.
cat > "$box/root/etc/systemd/system/driver.service" <<'UNIT'
[Unit]
Description=Test driver
After=basic.target dbus.service
[Service]
Type=oneshot
ExecStart=/bin/bash /out/driver.sh
ExecStopPost=/bin/systemctl --no-block --force poweroff
StandardOutput=file:/out/log
StandardError=inherit
UNIT
cat > "$box/root/etc/systemd/system/driver.target" <<'UNIT'
[Unit]
Requires=basic.target dbus.service driver.service systemd-journald.service
After=basic.target
AllowIsolate=yes
UNIT
mkdir -p "$box/root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\n' > "$box/root/etc/systemd/journald.conf.d/test.conf"
ln -sf /etc/systemd/system/driver.target "$box/root/etc/systemd/system/default.target"
rm -f "$box/root/etc/machine-id"
echo 0123456789abcdef0123456789abcdef > "$box/root/etc/machine-id"
: > "$box/root/etc/fstab"
timeout --kill-after=10 "${LIMIT:-400}" systemd-nspawn --quiet --directory="$box/root" --register=no --keep-unit \
    --private-network --bind="$box/out:/out" --boot --console=pipe systemd.show_status=0 < /dev/null \
    > "$box/console" 2>&1 || echo "systemd-nspawn: exit code $?"
[ -z "${KEEP:-}" ] || cp "$box/out/log" "$KEEP"
if ! grep -q '^DONE' "$box/out/log" 2> /dev/null; then
    echo "the driver did not finish; console and log:"
    tail -n 30 "$box/console"
    tail -n 60 "$box/out/log" 2> /dev/null || true
    exit 1
fi
grep -E '^(ok|FAIL|DONE)' "$box/out/log"
if grep -q '^FAIL' "$box/out/log"; then
    tail -n 120 "$box/out/log"
    exit 1
fi
