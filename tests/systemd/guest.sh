#!/bin/bash
# guest.sh WORK DEB [DRIVER]
#
# The same as container.sh in a virtual machine with Debian's own kernel under QEMU's software
# emulation, for what needs a kernel of one's own: its virtual camera (vivid), which comes late,
# is unplugged and taken; a clock that is set. DRIVER is cameras-driver.sh beside this file.
#
# The machine is of the package's architecture: amd64, or arm64 (emulated either way).
#
# Needs root and what root.sh and guest/kernel.sh need, cpio, qemu-system-x86 or qemu-system-arm. Time in the guest is virtual (-icount): the host's load does not disturb it, and
# its seconds say nothing about speed; networks take a hundred times longer there.
set -euo pipefail
WORK=$(mkdir -p "$1" && readlink -f "$1") DEB=$(readlink -f "$2")
HERE=$(dirname "$(readlink -f "$0")")
DRIVER=$(readlink -f "${3:-$HERE/cameras-driver.sh}")
ARCH=$(dpkg-deb --field "$DEB" Architecture)
"$HERE/root.sh" "$WORK" "$ARCH"
"$HERE/../guest/kernel.sh" "$WORK" "$ARCH"
ROOTFS=$WORK/rootfs-$ARCH.tar.zst KERNEL=$WORK/kernel-$ARCH
version=$(ls "$KERNEL/lib/modules")
# Virtual time, one instruction at a time.
if [ "$ARCH" = arm64 ]; then
    # shellcheck disable=SC2206
    machine=(qemu-system-aarch64 -M virt -cpu cortex-a76 -smp 2 ${ICOUNT--icount shift=0,sleep=off}) console=ttyAMA0
else
    # shellcheck disable=SC2206
    machine=(qemu-system-x86_64 -cpu max -smp 1 ${ICOUNT--icount shift=2,sleep=off}) console=ttyS0
fi
box=$(mktemp -d "$WORK/vm.XXXXXX")
trap 'rm -rf "$box"' EXIT
mkdir -p "$box"/{root,out} "$box"/ir/{bin,dev,proc,sys,modules,lower,rw,new}
tar -C "$box/root" --zstd -xf "$ROOTFS"

modules() { # modules TARGET NAMES: the files with their dependencies, and their order
    local to=$1 module
    shift
    mkdir -p "$to"
    for module in "$@"; do
        modprobe -d "$KERNEL" -S "$version" --show-depends "$module" | awk '$1 == "insmod" {print $2}'
    done | awk '!seen[$0]++' | while read -r file; do
        cp "$file" "$to/"
        basename "$file" >> "$to/order"
    done
}
modules "$box/ir/modules" virtio_pci 9pnet_virtio 9p overlay
modules "$box/root/modules" vivid
cp "$KERNEL/bin/busybox" "$box/ir/bin/"
cat > "$box/ir/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod "/modules/$module"; done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose root /lower || echo "no root"
mount -t tmpfs -o size=400m tmpfs /rw
mkdir /rw/up /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/up,workdir=/rw/work overlay /new
mkdir -p /new/out
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 out /new/out
mount --move /proc /new/proc
mount --move /sys /new/sys
mount --move /dev /new/dev
exec switch_root /new /lib/systemd/systemd
INIT
chmod 755 "$box/ir/init"
(cd "$box/ir" && find . -print0 | cpio -0 -o -H newc --quiet) | gzip -1 > "$box/initramfs.gz"

# Installed before it boots: unpacking takes minutes there.
cp "$DEB" "$box/root/posewire.deb"
chroot "$box/root" dpkg -i /posewire.deb > "$box/installed" 2>&1 || { cat "$box/installed"; exit 1; }
rm "$box/root/posewire.deb"
cp "$HERE"/*.py "$box/out/"
# Small networks that see one person: emulated, real ones take seconds a frame.
cp -r "$HERE/../data/models" "$box/out/models"
cp "$DRIVER" "$box/out/driver.sh"
cat > "$box/root/etc/systemd/system/driver.service" <<'UNIT'
[Unit]
Description=Test driver
After=basic.target dbus.service systemd-udevd.service
[Service]
Type=oneshot
ExecStart=/bin/bash /out/driver.sh
ExecStopPost=/bin/systemctl --no-block --force poweroff
StandardOutput=file:/out/log
StandardError=inherit
TimeoutStartSec=infinity
UNIT
cat > "$box/root/etc/systemd/system/driver.target" <<'UNIT'
[Unit]
Requires=basic.target dbus.service driver.service systemd-journald.service systemd-udevd.service
After=basic.target
AllowIsolate=yes
UNIT
for unit in systemd-timesyncd systemd-random-seed systemd-remount-fs systemd-update-utmp systemd-networkd \
    systemd-resolved apt-daily.timer apt-daily-upgrade.timer ldconfig; do
    ln -sf /dev/null "$box/root/etc/systemd/system/$unit$([[ $unit == *.* ]] || echo .service)"
done
ln -sf /etc/systemd/system/driver.target "$box/root/etc/systemd/system/default.target"
mkdir -p "$box/root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=volatile\n' > "$box/root/etc/systemd/journald.conf.d/test.conf"
rm -f "$box/root/etc/machine-id"
echo 0123456789abcdef0123456789abcdef > "$box/root/etc/machine-id"
: > "$box/root/etc/fstab"

timeout --kill-after=10 "${LIMIT:-600}" "${machine[@]}" -m 1536 \
    -kernel "$KERNEL"/boot/vmlinuz-* -initrd "$box/initramfs.gz" \
    -append "console=$console panic=-1 quiet systemd.show_status=0 systemd.log_level=warning" \
    -nodefaults -display none -no-reboot -serial stdio -monitor none \
    -fsdev "local,id=root,path=$box/root,security_model=none,readonly=on,multidevs=remap" \
    -device virtio-9p-pci,fsdev=root,mount_tag=root \
    -fsdev "local,id=out,path=$box/out,security_model=none" \
    -device virtio-9p-pci,fsdev=out,mount_tag=out < /dev/null > "$box/console" 2>&1 || echo "qemu: exit code $?"
[ -z "${KEEP:-}" ] || cp "$box/out/log" "$KEEP"
if ! grep -q '^DONE' "$box/out/log" 2> /dev/null; then
    echo "the driver did not finish; console and log:"
    tail -n 30 "$box/console"
    tail -n 60 "$box/out/log" 2> /dev/null || true
    exit 1
fi
grep -E '^(ok|FAIL|DONE)' "$box/out/log"
! grep -q '^FAIL' "$box/out/log" || { tail -n 120 "$box/out/log"; exit 1; }
