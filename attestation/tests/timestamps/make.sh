#!/bin/bash
# Makes the tokens of this folder with OpenSSL (`openssl ts`): authorities of several kinds over one message.
# The keys are thrown away; the files are committed, since every run makes others. Run it in an empty folder.
set -euo pipefail
printf 'a signature' >message
config() { # default_md ess usage
	cat <<X
[tsa]
serial = serial
crypto_device = builtin
signer_digest = $1
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = no
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = $2
[v3]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = $3
X
}
key() { # name kind
	case $2 in
	rsa) openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$1.key" ;;
	*) openssl genpkey -algorithm EC -pkeyopt "ec_paramgen_curve:$2" -out "$1.key" ;;
	esac
}
root() { # name kind usage
	key "$1" "$2"
	openssl req -x509 -new -key "$1.key" -sha256 -days 3650 -subj "/O=testimony.test/CN=$1" \
		-addext basicConstraints=critical,CA:TRUE -addext "keyUsage=critical,$3" -out "$1.pem"
}
token() { # name root kind digest ess usage days
	config "$4" "$5" "$6" >"$1.cnf"
	key "$1" "$3"
	openssl req -new -key "$1.key" -subj "/O=testimony.test/CN=$1" |
		openssl x509 -req -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -sha256 -days "$7" -extfile "$1.cnf" \
			-extensions v3 -out "$1.leaf" 2>/dev/null
	echo 01 >serial
	openssl ts -query -data message -"$4" -cert -out "$1.tsq" 2>/dev/null
	openssl ts -reply -config "$1.cnf" -section tsa -queryfile "$1.tsq" -signer "$1.leaf" -inkey "$1.key" \
		-chain "$2.pem" -token_out -out "$1.der" 2>/dev/null
	cat "$1.leaf" "$2.pem" >"$1.pem"
}
root rsa-root rsa keyCertSign
root ec-root P-384 keyCertSign
token rsa rsa-root rsa sha512 sha256 critical,timeStamping 3000
token rsa-sha1-id rsa-root rsa sha256 sha1 critical,timeStamping 3000
token p256 ec-root P-256 sha256 sha256 critical,timeStamping 3000
token p384 ec-root P-384 sha384 sha384 critical,timeStamping 3000
rm -f ./*.key ./*.srl ./*.cnf ./*.tsq ./*.leaf serial rsa-root.pem ec-root.pem
