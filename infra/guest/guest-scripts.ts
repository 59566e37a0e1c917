/** What runs inside the guest. Kept small: every process it starts costs milliseconds under emulation. */

/** Order of the kernel's modules: each needs those before it. */
export const GUEST_MODULES = [
  'virtio_ring',
  'virtio',
  'virtio_pci_modern_dev',
  'virtio_pci_legacy_dev',
  'virtio_pci',
  'virtio_blk',
  'evdev',
  'button',
] as const;

/** Records lie in slots of this size, at counter mod {@link RECORD_SLOTS}. */
export const RECORD_BYTES = 4096;
export const RECORD_SLOTS = 64;

/** In the initial RAM disk: loads what it takes to find the root file system, and goes there. */
export const INITRD_INIT = `#!/bin/busybox sh
/bin/busybox mount -t proc p /proc; /bin/busybox mount -t sysfs s /sys; /bin/busybox mount -t devtmpfs d /dev
for m in ${GUEST_MODULES.join(' ')}; do [ -f /modules/$m.ko ] && /bin/busybox insmod /modules/$m.ko; done
i=0; while [ ! -b /dev/vda2 ] && [ $i -lt 250 ]; do /bin/busybox usleep 20000; i=$((i+1)); done
/bin/busybox mount -t ext4 -o rw /dev/vda2 /mnt || { echo GUEST-FAILED no root file system; /bin/busybox ls /dev; }
exec /bin/busybox switch_root /mnt /sbin/init
`;

/**
 * Each second: the counter to disk 1 (log and record, each flushed), then to disk 2 (flushed), then churn on both. So at
 * every instant disk 2 holds disk 1's counter or the one before: the write order across disks can be checked.
 */
export const ROOT_INIT = `#!/bin/busybox sh
export PATH=/bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev 2>/dev/null; mount -t tmpfs t /run
say() { echo "$1" > /dev/console; echo "$1" > /dev/tty0; }
last() { [ -b $1 ] && dd if=$1 bs=${RECORD_BYTES} count=${RECORD_SLOTS} 2>/dev/null | tr -d '\\000' | grep '^HOLDFAST ' | sort | tail -n 1 | cut -d' ' -f2 | sed 's/^0*//'; }
record() { [ -b $1 ] && echo "$2" | dd of=$1 bs=${RECORD_BYTES} seek=$(($3 % ${RECORD_SLOTS})) conv=sync,notrunc,fsync 2>/dev/null; }
churn() { [ -e $1 ] && dd if=/dev/urandom of=$1 bs=65536 count=4 seek=$2 conv=notrunc 2>/dev/null; }

for e in /sys/class/input/event*; do
  grep -q 'Power Button' $e/device/name 2>/dev/null && (dd if=/dev/input/\${e##*/} of=/dev/null bs=24 count=1 2>/dev/null; : > /run/off) &
done

c=$(last /dev/vda3); c=\${c:-0}; d=$(last /dev/vdb); d=\${d:-0}
printf '\\033[2J\\033[H  Holdfast guest: counts on two disks, once a second\\n\\n' > /dev/tty0
say "GUEST-UP last1=$c last2=$d"

while :; do
  if [ -e /run/off ]; then
    say "GUEST-DOWN last1=$c"
    sync; mount -o remount,ro /; poweroff -f
  fi
  c=$((c+1)); t=$EPOCHSECONDS
  body=$(printf 'HOLDFAST %010d %010d' $c $t)
  sum=$(echo "$body" | md5sum | cut -c1-32)
  echo "$c $t" | dd of=/data/log oflag=append conv=notrunc,fsync 2>/dev/null
  record /dev/vda3 "$body $sum" $c
  record /dev/vdb "$body $sum" $c
  say "tick $c $t"
  churn /data/churn $((c * 4 % 64))
  churn /dev/vdb $((256 + c * 4 % 256))
  sync
  us=1\${EPOCHREALTIME#*.}; usleep $((2000000 - us))
done
`;

/** The commands that the scripts name. */
export const GUEST_COMMANDS = [
  'sh',
  'mount',
  'cat',
  'cut',
  'dd',
  'grep',
  'ls',
  'md5sum',
  'poweroff',
  'printf',
  'sed',
  'sort',
  'sync',
  'tail',
  'tr',
  'usleep',
] as const;

/** No serial port here: the boot loader's own output stays on the VM console. */
export const SYSLINUX_CONFIG = `DEFAULT guest
TIMEOUT 1
LABEL guest
 LINUX vmlinuz
 INITRD initrd.gz
 APPEND console=tty0 console=ttyS0 quiet panic=-1
`;
