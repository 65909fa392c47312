#!/bin/bash
# cameras.sh WORK CAMERA_TEST [POSEWIRE_BINARY [USB_SERIAL_TEST]]
#
# Boots Debian's own kernel with three of its virtual cameras (vivid) under QEMU's software
# emulation and runs CAMERA_TEST (cargo's build of tests/camera.rs) in it as root, then
# USB_SERIAL_TEST (of tests/usb_serial.rs); the exit code is that of the first that failed, or 0.
# With POSEWIRE_BINARY, that then runs in the guest on all three cameras at once, of which one is
# disconnected in between, and publishes to a listener out here, whose findings are checked by
# tests/guest/heard.py.
#
#   cargo test --test camera --test usb_serial --no-run          # prints the binaries' paths
#   tests/guest/cameras.sh /tmp/guest target/debug/deps/camera-<hash> target/debug/posewire target/debug/deps/usb_serial-<hash>
#
# For USB_SERIAL_TEST, the machine has two USB serial adapters, A and B, whose lines are joined, a
# place for a third, C, udev to name them, and its own monitor at /dev/virtio-ports/monitor to
# pull their plugs.
#
# Needs an amd64 Debian with: apt-get install --no-install-recommends qemu-system-x86 cpio kmod
# v4l-utils udev. Downloads one kernel package into WORK (once, 100 MB).
# -icount makes the guest's time virtual: the host's load does not disturb it.
set -euo pipefail
WORK=$(mkdir -p "$1" && readlink -f "$1") BINARY=$(readlink -f "$2")
POSEWIRE=${3:+$(readlink -f "$3")} SERIAL=${4:+$(readlink -f "$4")}
HERE=$(dirname "$(readlink -f "$0")")
MODULES="vivid virtio_pci 9pnet_virtio 9p virtio_net xhci_pci ftdi_sio virtio_console"

"$HERE/kernel.sh" "$WORK"
KERNEL=$WORK/kernel-amd64
version=$(ls "$KERNEL/lib/modules")

# The initramfs: busybox, the modules in loading order, the programs with their libraries.
root=$(mktemp -d "$WORK/root.XXXXXX")
listener=
trap 'rm -rf "$root"; [ -z "$listener" ] || kill "$listener" 2> /dev/null || true' EXIT
mkdir -p "$root"/{bin,dev,proc,sys,tmp,out,modules,models}
cp "$KERNEL/bin/busybox" "$root/bin/"
install -m 755 "$HERE/init" "$root/init"
for module in $MODULES; do
    modprobe -d "$KERNEL" -S "$version" --show-depends "$module" | awk '$1 == "insmod" {print $2}'
done | awk '!seen[$0]++' | while read -r file; do
    cp "$file" "$root/modules/"
    basename "$file" >> "$root/modules/order"
done
for program in "$BINARY" $SERIAL "$(command -v v4l2-ctl)" "$(command -v udevadm)" $POSEWIRE; do
    ldd "$program" | awk '/=> \// {print $3} /^\t\// {print $1}' | while read -r library; do
        mkdir -p "$root$(dirname "$library")"
        cp -nL "$library" "$root$library"
    done
done
cp "$BINARY" "$root/bin/camera-test"
cp "$(command -v v4l2-ctl)" "$(command -v udevadm)" "$root/bin/"
if [ -n "$SERIAL" ]; then
    cp "$SERIAL" "$root/bin/usb-serial-test"
    mkdir -p "$root"/{run,etc/udev,lib/udev/rules.d}
    cp /lib/udev/rules.d/{50-udev-default,60-serial}.rules "$root/lib/udev/rules.d/"
    ln -s udevadm "$root/bin/systemd-udevd"
fi
cp "$HERE"/../data/models/test-{finder,keypoints}.{toml,onnx} "$root/models/"
cp "$HERE/cameras.toml" "$root/"

# From the guest's port to its monitor, whose echoes nobody reads.
mkfifo "$root/monitor.in" "$root/to-monitor.in"
ln -s monitor.in "$root/to-monitor.out"
ln -s /dev/null "$root/monitor.out"

mkdir -p "$WORK/out"
rm -f "$WORK"/out/*
append="console=ttyS0 panic=-1 quiet"
if [ -n "$POSEWIRE" ]; then
    cp "$POSEWIRE" "$root/bin/posewire"
    port=$(python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    append+=" posewire_port=$port"
    "$POSEWIRE" listen "udp://127.0.0.1:$port" --format json > "$WORK/out/heard" 2> "$WORK/out/listener" &
    listener=$!
fi
(cd "$root" && find . -print0 | cpio -0 -o -H newc --quiet) | gzip -1 > "$WORK/initramfs.gz"

timeout "${LIMIT:-400}" qemu-system-x86_64 -cpu max -smp 1 -m 1536 -icount shift=2,sleep=off \
    -kernel "$KERNEL"/boot/vmlinuz-* -initrd "$WORK/initramfs.gz" -append "$append" \
    -nodefaults -display none -no-reboot -serial stdio -monitor none \
    -nic user,model=virtio-net-pci \
    -fsdev "local,id=out,path=$WORK/out,security_model=none" \
    -device virtio-9p-pci,fsdev=out,mount_tag=out \
    -chardev "pipe,id=monitor,path=$root/monitor" -mon chardev=monitor \
    -chardev "pipe,id=to-monitor,path=$root/to-monitor" \
    -device virtio-serial-pci -device virtserialport,chardev=to-monitor,name=monitor \
    -device qemu-xhci,id=usb \
    -chardev "socket,id=a,path=$root/line,server=on,wait=off" \
    -chardev "socket,id=b,path=$root/line" -chardev null,id=c \
    -device usb-serial,id=adapter-a,chardev=a,serial=A,always-plugged=on,bus=usb.0 \
    -device usb-serial,id=adapter-b,chardev=b,serial=B,always-plugged=on,bus=usb.0 < /dev/null || echo "qemu: exit code $?"
cat "$WORK/out/log" 2> /dev/null || echo "the guest left no log"
code=$(cat "$WORK/out/code" 2> /dev/null || echo 98)
if [ -n "$POSEWIRE" ] && [ "$code" = 0 ]; then
    sleep 1
    kill -TERM "$listener"
    wait "$listener" || code=$?
    listener=
    python3 "$HERE/heard.py" "$WORK/out" || code=97
fi
exit "$code"
