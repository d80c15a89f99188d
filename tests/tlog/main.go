// Checks what a collector's log hands out with filippo.io/torchwood (cosignatures) and golang.org/x/mod/sumdb/tlog (proofs):
//
//	tlog receipt VKEY RECEIPT            that the entry is in the tree that the log signed
//	tlog consistency VKEY OLD NEW PROOF  that the tree of one checkpoint begins with that of another
//
// It prints what it found, the entry or the two sizes; and ends 1, with the reason, where something does not hold.
package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tlog:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	switch {
	case len(words) == 1 && words[0] == "--version":
		fmt.Println("tlog")
		return nil
	case len(words) == 3 && words[0] == "receipt":
		return receipt(read(words[1]), read(words[2]))
	case len(words) == 5 && words[0] == "consistency":
		return consistency(read(words[1]), read(words[2]), read(words[3]), read(words[4]))
	}
	return errors.New("see the comment at its head")
}

func receipt(vkey, text string) error {
	proof, checkpoint, found := strings.Cut(text, "\n\n")
	lines := strings.Split(proof, "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("no proof of a log")
	}
	entry, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	hashes, err := parse(lines[3:])
	if err != nil {
		return err
	}
	tree, err := signed(vkey, checkpoint)
	if err != nil {
		return err
	}
	if err := tlog.CheckRecord(hashes, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
		return err
	}
	fmt.Print(string(entry))
	return nil
}

func consistency(vkey, old, next, proof string) error {
	from, err := signed(vkey, old)
	if err != nil {
		return err
	}
	to, err := signed(vkey, next)
	if err != nil {
		return err
	}
	hashes, err := parse(strings.Fields(proof))
	if err != nil {
		return err
	}
	if err := tlog.CheckTree(hashes, to.N, to.Hash, from.N, from.Hash); err != nil {
		return err
	}
	fmt.Println(from.N, to.N)
	return nil
}

// signed is the tree of a checkpoint that this key signed.
func signed(vkey, text string) (tlog.Tree, error) {
	verifier, err := torchwood.NewCosignatureVerifier(strings.TrimSpace(vkey))
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open([]byte(text), note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	checkpoint, err := torchwood.ParseCheckpoint(opened.Text)
	return checkpoint.Tree, err
}

func parse(lines []string) (hashes []tlog.Hash, err error) {
	for _, line := range lines {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return nil, err
		}
		hashes = append(hashes, hash)
	}
	return hashes, nil
}

func read(path string) string {
	bytes, err := os.ReadFile(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tlog:", err)
		os.Exit(1)
	}
	return string(bytes)
}
