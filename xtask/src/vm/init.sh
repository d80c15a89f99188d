#!/bin/busybox sh
# First program of a guest: loads the disks' modules, mounts the root and hands over to stage2 in it.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in /modules/*.ko; do
	[ -e "$module" ] && { insmod "$module" || echo "testimony-vm: $module does not load"; }
done
for second in 1 2 3 4 5 6 7 8 9 10; do
	[ -b /dev/vdb ] && break
	sleep 0.5
done
mount -t ext4 /dev/vda /root || { echo "testimony-vm: no root file system"; poweroff -f; }
mount -t tmpfs tmpfs /root/run
mkdir -p /root/run/vm/carried
mount -t ext4 /dev/vdb /root/run/vm/carried || { echo "testimony-vm: no second disk"; poweroff -f; }
cp /bin/busybox /stage2 /root/run/vm/
for dir in proc sys dev; do
	mount --move "/$dir" "/root/$dir"
done
exec switch_root /root /run/vm/stage2
