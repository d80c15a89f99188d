#!/usr/bin/env bash
# Makes the logs of a boot that the unit tests of attestation/src/tpm read: guest.sh NAME VMLINUZ ovmf|seabios IMA-TEMPLATE boots a
# kernel with an emulated TPM, a policy and some files, and writes NAME.events, NAME.ima and NAME.pcrs. Used: qemu 10.0, swtpm 0.7.1,
# Debian's OVMF 2022.11 and SeaBIOS 1.16.3, kernels 6.1 (ima-sig), 6.12 (ima-ng) and 6.18 (ima-sigv2).
set -euo pipefail
name=$1; kernel=$2; firmware=$3; template=$4; out=$PWD; work=$(mktemp -d)
cd "$work"; mkdir -p tpm root/{bin,proc,sys,dev,data}
cp /bin/busybox root/bin/
cat >sign.c <<'C'
#include <sys/xattr.h>
int main(int c, char **v) {
    return setxattr(v[1], "security.ima", "\3\2\4\252\273\314\335\0\20\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17\20", 25, 0) != 0;
}
C
gcc -static -O1 -o root/bin/sign sign.c
cat >root/init <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin; export PATH=/bin
mount -t proc none /proc; mount -t sysfs none /sys; mount -t devtmpfs none /dev
mount -t securityfs none /sys/kernel/security; mount -t tmpfs -o size=4m none /data
for name in one two signed; do echo $name >/data/$name; done
sign /data/signed
printf 'measure func=BPRM_CHECK mask=MAY_EXEC\nmeasure func=FILE_CHECK mask=MAY_READ uid=0 fsmagic=0x01021994\n' \
    >/sys/kernel/security/ima/policy
cat /data/one >/dev/null
# Written to while it is open for reading: a violation.
exec 3</data/two; cat <&3 >/dev/null; echo more >>/data/two; exec 3<&-
cat /data/signed >/dev/null
/bin/true
echo; echo "=== pcrs"
for pcr in $(seq 0 23); do echo "$pcr $(cat /sys/class/tpm/tpm0/pcr-sha256/$pcr)"; done
echo "=== events"; base64 </sys/kernel/security/tpm0/binary_bios_measurements
echo "=== ima"; base64 </sys/kernel/security/ima/binary_runtime_measurements
echo "=== end"; poweroff -f
INIT
chmod +x root/init
(cd root && find . -print0 | cpio --quiet -0 -o -H newc --owner=0:0 | gzip -n) >initrd.gz
swtpm_setup --tpm2 --tpmstate tpm --pcr-banks sha256 --overwrite >/dev/null
swtpm socket --tpm2 --tpmstate dir=tpm --ctrl type=unixio,path=sock --flags startup-clear &
drives=()
if [ "$firmware" = ovmf ]; then
    cp /usr/share/OVMF/OVMF_VARS_4M.fd vars.fd
    drives=(-machine q35 -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd
        -drive if=pflash,format=raw,file=vars.fd)
fi
timeout 300 qemu-system-x86_64 -accel tcg -cpu max -m 1024 -nographic -nodefaults -no-reboot -serial stdio "${drives[@]}" \
    -kernel "$kernel" -initrd initrd.gz -chardev socket,id=c,path=sock -tpmdev emulator,id=t,chardev=c -device tpm-tis,tpmdev=t \
    -append "console=ttyS0 panic=-1 quiet ima_policy=critical_data ima_template=$template" </dev/null | tr -d '\r' >console
part() { sed -n "/^=== $1\$/,/^===/{/^===/d;p}" console; }
part pcrs >"$out/$name.pcrs"
part events | base64 -d >"$out/$name.events"
part ima | base64 -d >"$out/$name.ima"
rm -rf "$work"
