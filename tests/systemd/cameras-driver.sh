#!/bin/bash
# Runs as root in the guest: see guest.sh. A camera here is vivid, loaded and unbound at will.
exec 2>&1
rows=0 failed=0
row() { # row NAME CONDITION SEEN
    rows=$((rows + 1))
    if [ "$2" = 0 ]; then echo "ok   $1: $3"; else echo "FAIL $1: $3"; failed=$((failed + 1)); fi
}
has() { grep -qE -- "$1" <<< "$2"; echo $?; }
prop() { systemctl show -P "$2" "posewire@$1"; }
up() { cut -d' ' -f1 /proc/uptime; }
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do [ $SECONDS -lt $end ] || return 1; sleep 0.5; done
}
ask() { posewire status "$1" --json 2> /dev/null | python3 -c "import json,sys; s=json.load(sys.stdin); print($2)" 2> /dev/null; }
frames_come() { local a; a=$(ask "$1" 's["frames_in"]'); sleep 1; [ "$(ask "$1" 's["frames_in"]')" -gt "$a" ]; }
poses_come() { [ "$(ask "$1" 's["frames_out"]')" -gt 2 ]; }
camera_is() { [ "$(ask "$1" 's["cameras"][0]["state"]')" = "$2" ]; }
echo "T begin $(up)"
ip link set lo up
cp -r /out/models /usr/share/posewire/test-models
chmod -R a+rX /usr/share/posewire/test-models
cat > /etc/posewire/cam.toml <<'TOML'
[source]
uri = "v4l2:bus/platform:vivid-000?size=320x180"
rate = 15
[models]
dir = "/usr/share/posewire/test-models"
[[publish]]
uri = "udp://127.0.0.1:7777"
TOML
mkdir -p /etc/systemd/system/posewire@.service.d
# Emulated, a network takes a hundred times longer.
printf '[Service]\nWatchdogSec=240\nTimeoutStartSec=600\n' > /etc/systemd/system/posewire@.service.d/test.conf
systemctl daemon-reload
echo "T start $(up)"
systemctl start posewire@cam
row "booted without a camera it starts, degraded" "$(has '^degraded' "$(prop cam StatusText)")" "$(prop cam ActiveState): $(prop cam StatusText)"
echo "T started $(up)"
# What has the camera opened, under hardening, is the group video and DeviceAllow= alone.
for module in $(cat /modules/order); do
    case $module in vivid.ko) p="n_devs=1 node_types=0x1 num_inputs=1 input_types=0 multiplanar=1" ;; *) p= ;; esac
    insmod "/modules/$module" $p 2> /dev/null
done
udevadm settle
wait_for 120 camera_is cam open
row "a camera that comes late is opened by itself" $? "$(ask cam 's["cameras"][0]["summary"]'), $(prop cam NRestarts) restarts"
wait_for 180 poses_come cam
row "and gives poses" $? "$(ask cam '"%d frames in, %d poses out" % (s["frames_in"], s["frames_out"])')"
echo "T frames $(up)"
seen=$(stat -c '%G %a' /dev/video0)
row "its node belongs to the group video" "$(has '^video 660' "$seen")" "$seen"
# A second instance on the same camera.
sed 's/7777/7778/' /etc/posewire/cam.toml > /etc/posewire/second.toml
systemctl start posewire@second
wait_for 120 test "$(ask second 's["cameras"][0]["state"]')" = away
seen=$(posewire status second)
row "a second instance on it is degraded and says who has it" "$(has 'another program uses the camera|busy' "$seen")" "$(grep fault <<< "$seen" | tr -s ' ')"
systemctl stop posewire@second
# Unplugged and plugged in again. Somebody keeps the old node open, so that its number stays taken.
exec 9< /dev/video0
echo vivid.0 > /sys/bus/platform/drivers/vivid/unbind
wait_for 120 camera_is cam away
row "unplugged: named in the status" $? "$(prop cam StatusText)"
sleep 15
echo vivid.0 > /sys/bus/platform/drivers/vivid/bind
udevadm settle
wait_for 120 camera_is cam open && wait_for 60 frames_come cam
row "plugged in again under another number: frames come" $(($? + $([ -e /dev/video1 ]; echo $?))) "$(ls /dev/video* | tr '\n' ' '), $(ask cam 's["frames_in"]') frames in, $(prop cam NRestarts) restarts"
exec 9<&-
# A clock that is set.
before=$(ask cam 's["frames_in"]')
date -s '+1 hour' > /dev/null
wait_for 60 frames_come cam
row "clock set forward by an hour" $? "$(ask cam 's["state"]'), $(ask cam 's["uptime_s"]') s of uptime, frames $before -> $(ask cam 's["frames_in"]')"
date -s '-2 hours' > /dev/null
wait_for 60 frames_come cam
row "clock set back by two hours" $? "$(ask cam 's["state"]'), $(ask cam 's["uptime_s"]') s of uptime, $(prop cam NRestarts) restarts"
posewire check --config /etc/posewire/cam.toml --no-source > /tmp/check
row "posewire check finds the camera" "$(has 'ok +camera +/dev/video1' "$(cat /tmp/check)")" "$(grep -m1 camera /tmp/check | tr -s ' ')"
systemctl stop posewire@cam
# Asked again: virtual time leaps while the disk is waited for, and with it systemctl's own patience.
stopped_well() { [ "$(prop cam Result) $(prop cam ActiveState)" = "success inactive" ]; }
wait_for 60 stopped_well
row "stopping is clean" $? "result $(prop cam Result), $(prop cam NRestarts) restarts in all"
echo "T end $(up)"
echo "--- journal"
journalctl --no-pager -o short-monotonic -u 'posewire@*' | tail -n 60
echo "DONE $((rows - failed)) of $rows rows as expected"
sync
