// Makes receipt.tlog-proof and log.vkey: a log of five entries, with the checkpoint and cosignature of filippo.io/torchwood
// and the tree of golang.org/x/mod/sumdb/tlog. The entry proven is that of receipt.entry.
package main

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	payload, signature := sha256.Sum256([]byte("payload")), sha256.Sum256([]byte("a signature"))
	entry := fmt.Sprintf("testimony-receipt/v1\npayload sha256:%x\nsignature sha256:%x\n", payload, signature)
	entries := [][]byte{[]byte("0"), []byte("1"), []byte(entry), []byte("3"), []byte("4")}
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) (found []tlog.Hash, err error) {
		for _, index := range indexes {
			found = append(found, hashes[index])
		}
		return found, nil
	})
	for index, data := range entries {
		more, err := tlog.StoredHashes(int64(index), data, reader)
		end(err)
		hashes = append(hashes, more...)
	}
	size := int64(len(entries))
	root, err := tlog.TreeHash(size, reader)
	end(err)
	proof, err := tlog.ProveRecord(size, 2, reader)
	end(err)
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	signer, err := torchwood.NewCosignatureSigner("collector.testimony.test/log", key)
	end(err)
	checkpoint := torchwood.Checkpoint{Origin: "collector.testimony.test/log", Tree: tlog.Tree{N: size, Hash: root}}
	signed, err := note.Sign(&note.Note{Text: checkpoint.String()}, signer)
	end(err)
	text := fmt.Sprintf("c2sp.org/tlog-proof@v1\nextra %s\nindex 2\n", base64.StdEncoding.EncodeToString([]byte(entry)))
	for _, hash := range proof {
		text += base64.StdEncoding.EncodeToString(hash[:]) + "\n"
	}
	end(os.WriteFile("receipt.tlog-proof", []byte(text+"\n"+string(signed)), 0o644))
	end(os.WriteFile("log.vkey", []byte(signer.Verifier().String()+"\n"), 0o644))
}

func end(err error) {
	if err != nil {
		panic(err)
	}
}
