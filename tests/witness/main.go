// Witness verifies an envelope with go-witness' own library: its DSSE, its certificate chains, its timestamps.
//
//	witness -roots FILE [-tsa FILE] [-uri ID] ENVELOPE
//
// It ends with 0 if the library accepts the envelope by one of the roots (and, where it is asked for, the accepted
// certificate names that URI), with 1 if it does not, and with 64 if it is used wrongly.
package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"os"

	"github.com/in-toto/go-witness/cryptoutil"
	"github.com/in-toto/go-witness/dsse"
	"github.com/in-toto/go-witness/timestamp"
)

const (
	refused = 1
	usage   = 64
)

func main() {
	roots := flag.String("roots", "", "authorities of the signers, in PEM")
	tsa := flag.String("tsa", "", "authorities of the timestamps, in PEM")
	uri := flag.String("uri", "", "the name that the signer has to have")
	flag.Parse()
	if *roots == "" || flag.NArg() != 1 {
		flag.Usage()
		os.Exit(usage)
	}
	text, err := os.ReadFile(flag.Arg(0))
	end(err, usage)
	options := []dsse.VerificationOption{dsse.VerifyWithRoots(certificates(*roots)...)}
	if *tsa != "" {
		verifier := timestamp.NewVerifier(timestamp.VerifyWithCerts(certificates(*tsa)))
		options = append(options, dsse.VerifyWithTimestampVerifiers(verifier))
	}
	var envelope dsse.Envelope
	end(json.Unmarshal(text, &envelope), refused)
	checked, err := envelope.Verify(options...)
	end(err, refused)
	for _, one := range checked {
		verifier, of := one.Verifier.(*cryptoutil.X509Verifier)
		if one.Error != nil || !of {
			continue
		}
		if *uri == "" || named(verifier.Certificate(), *uri) {
			fmt.Println("accepted:", verifier.Certificate().URIs)
			return
		}
	}
	end(fmt.Errorf("no signature by %s", *uri), refused)
}

func named(certificate *x509.Certificate, uri string) bool {
	return len(certificate.URIs) == 1 && certificate.URIs[0].String() == uri
}

func certificates(path string) []*x509.Certificate {
	rest, err := os.ReadFile(path)
	end(err, usage)
	var found []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return found
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		end(err, usage)
		found = append(found, certificate)
	}
}

func end(err error, code int) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "witness:", err)
		os.Exit(code)
	}
}
