#!/bin/bash
# Makes the files of this folder with swtpm and tpm2-tools: for each kind of key the public area of an attestation key
# (TPM2B_PUBLIC), a quote over PCRs (TPMS_ATTEST, TPMT_SIGNATURE), and the values of those PCRs. Run it in an empty folder.
set -euo pipefail
state=$(mktemp -d)
trap 'kill $! 2>/dev/null || true; rm -rf "$state"' EXIT
swtpm socket --tpm2 --tpmstate "dir=$state" --server type=tcp,port=2821,bindaddr=127.0.0.1 \
	--ctrl type=tcp,port=2822,bindaddr=127.0.0.1 --flags not-need-init,startup-clear &
sleep 1
export TPM2TOOLS_TCTI=swtpm:host=127.0.0.1,port=2821
tpm2_pcrextend 11:sha256=$(printf head | sha256sum | cut -d' ' -f1)
for kind in ecc rsa; do
	[ $kind = ecc ] && scheme=ecdsa || scheme=rsassa
	tpm2_createek -c "$state/ek" -G $kind -u "$state/ek.pub" >/dev/null
	tpm2_createak -C "$state/ek" -c "$state/ak" -G $kind -g sha256 -s $scheme -u $kind.pub -n "$kind.name" >/dev/null
	tpm2_flushcontext -t
	tpm2_quote -c "$state/ak" -l sha256:0,7,11 -q "$(printf nonce | xxd -p)" -m $kind.attest -s $kind.sig -g sha256 >/dev/null
	tpm2_flushcontext -t
done
tpm2_pcrread sha256:0,7,11 >pcrs.txt
# A key that signs whatever it is given: no attestation key.
tpm2_createprimary -C o -c "$state/primary" -G ecc >/dev/null
tpm2_create -C "$state/primary" -G ecc:ecdsa -u signing.pub -r "$state/private" -c "$state/signing" >/dev/null
