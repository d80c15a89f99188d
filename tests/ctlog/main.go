// A certificate transparency log for tests: TesseraCT's own handlers, signer and storage, on local disk and one loopback port, without what
// its programs have beside that for a public log (telemetry, roots from elsewhere, a database that finds duplicates):
//
//	ctlog ADDRESS ORIGIN FOLDER KEY ROOTS
//
// ADDRESS is host:port, ORIGIN the log's name in its checkpoints, KEY an EC key in PEM (SEC 1), ROOTS the certificates in PEM below which
// everything that is for code signing is logged.
package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"github.com/transparency-dev/tesseract"
	"github.com/transparency-dev/tesseract/storage"
	issuers "github.com/transparency-dev/tesseract/storage/posix"
	"golang.org/x/mod/sumdb/note"
)

const (
	deadline           = 10 * time.Second
	checkpointInterval = 200 * time.Millisecond
	batchSize          = 16
	batchAge           = 20 * time.Millisecond
	chainBytesMax      = 512 << 10
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ctlog:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) == 1 && words[0] == "--version" {
		fmt.Println("ctlog")
		return nil
	}
	if len(words) != 5 {
		return errors.New("see the comment at its head")
	}
	address, origin, folder, keyFile, roots := words[0], words[1], words[2], words[3], words[4]
	key, err := read(keyFile)
	if err != nil {
		return err
	}
	ctx := context.Background()
	config := tesseract.ChainValidationConfig{RootsPEMFile: roots, ExtKeyUsages: "CodeSigning"}
	options := tesseract.LogHandlerOpts{MaxCertChainBytes: chainBytesMax}
	create := func(ctx context.Context, signer note.Signer) (*storage.CTStorage, error) {
		return open(ctx, folder, signer)
	}
	handler, err := tesseract.NewLogHandler(ctx, origin, key, config, create, deadline, false, "", options)
	if err != nil {
		return err
	}
	server := http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: deadline}
	return server.ListenAndServe()
}

// open is the log in a folder. An entry is answered for when it is covered by a checkpoint.
func open(ctx context.Context, folder string, signer note.Signer) (*storage.CTStorage, error) {
	driver, err := posix.New(ctx, posix.Config{Path: folder})
	if err != nil {
		return nil, err
	}
	options := tessera.NewAppendOptions().WithCheckpointSigner(signer).WithCTLayout().
		WithCheckpointInterval(checkpointInterval).WithBatching(batchSize, batchAge)
	appender, _, reader, err := tessera.NewAppender(ctx, driver, options)
	if err != nil {
		return nil, err
	}
	known, err := issuers.NewIssuerStorage(ctx, folder)
	if err != nil {
		return nil, err
	}
	return storage.NewCTStorage(ctx, &storage.CTStorageOptions{
		Appender: appender, Reader: reader, IssuerStorage: known, AwaiterPollInterval: batchAge, EnablePubAwaiter: true,
	})
}

func read(path string) (crypto.Signer, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(bytes)
	if block == nil {
		return nil, errors.New("the key is not in PEM")
	}
	return x509.ParseECPrivateKey(block.Bytes)
}
