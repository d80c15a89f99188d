#!/bin/bash
# A guest's init in its root file system: mounts what tests look at, runs what was carried here, says how it ended.
busybox=/run/vm/busybox
carried=/run/vm/carried
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux LANG=C.UTF-8

mkdir -p /dev/pts /dev/shm
# The kernel makes devices only; these links are user space's to make.
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t securityfs securityfs /sys/kernel/security
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
$busybox ip link set lo up
$busybox hostname testimony-vm
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
# Every executed file is measured; a policy that measures every file read would take minutes under emulation.
if [ -w /sys/kernel/security/ima/policy ]; then
	echo 'measure func=BPRM_CHECK mask=MAY_EXEC' >/sys/kernel/security/ima/policy
fi

# What was carried stands at the paths it has on the host.
while IFS= read -r number && IFS= read -r path; do
	if [ -d "$carried/$number" ]; then
		mkdir -p "$path"
	else
		mkdir -p "${path%/*}"
		: >"$path"
	fi
	mount --bind "$carried/$number" "$path" || echo "testimony-vm: $path is not carried"
done <$carried/list

if [ -e $carried/shell ]; then
	cd / || exit
	echo "testimony-vm: $(uname -r); end it with: exit"
	$busybox setsid $busybox cttyhack bash -l
else
	# Without this every line on the console would end in a carriage return of the terminal's own.
	stty -onlcr <>/dev/console
	echo "@@testimony-vm begin@@"
	# Through a pipe, so that programs see no terminal; one that outlives the command must not hold up the end.
	exec 3> >(exec cat)
	reader=$!
	bash $carried/command </dev/null >&3 2>&3 3>&-
	status=$?
	exec 3>&-
	for _ in {1..50}; do
		kill -0 $reader 2>/dev/null || break
		sleep 0.1
	done
	echo "@@testimony-vm end $status@@"
fi
sync
$busybox poweroff -f
