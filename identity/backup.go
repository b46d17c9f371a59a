package identity

import (
	"bufio"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"

	"paas/cluster"
)

// An encrypted backup is
//
//	"paasenc1"  salt (16)  nonce prefix (16)  chunk…
//
// A chunk is 64 KiB of plaintext (the last one less, possibly none) sealed with
// XChaCha20-Poly1305. Its nonce is prefix, counter and a byte that is 1 on the
// last chunk only: chunks cannot be swapped, dropped or cut off at the end (the
// STREAM construction). The header is every chunk's associated data.
const (
	backupMagic  = "paasenc1"
	backupChunk  = 64 << 10
	backupHeader = len(backupMagic) + 16 + 16

	// RFC 9106's second recommended option (64 MiB, three passes), with one thread
	// in place of four: small hosts have one core.
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 1
)

// ErrBackupKey is returned when a backup's first chunk does not open: the
// passphrase is wrong or the file was changed.
var ErrBackupKey = cluster.Invalid("passphrase", "the backup cannot be opened").
	Because("the passphrase is wrong or the file is damaged")

// EncryptBackup returns a writer whose plaintext arrives at w encrypted with
// pass. Close ends the stream; without it the backup is refused as truncated. It
// does not close w.
func EncryptBackup(w io.Writer, pass cluster.Redacted) (io.WriteCloser, error) {
	if pass == "" {
		return nil, cluster.Invalid("passphrase", "a backup needs a passphrase")
	}
	header := make([]byte, backupHeader)
	copy(header, backupMagic)
	_, _ = rand.Read(header[len(backupMagic):]) // never fails: crypto/rand aborts the process instead
	if _, err := w.Write(header); err != nil {
		return nil, fmt.Errorf("write backup header: %w", err)
	}
	c, err := newChunkCipher(header, pass)
	if err != nil {
		return nil, err
	}
	return &backupWriter{w: w, c: c, buf: make([]byte, 0, backupChunk)}, nil
}

// DecryptBackup returns a reader of the plaintext that EncryptBackup was given.
// Read returns what was verified only, and io.EOF only after the last chunk was:
// a truncated backup ends in io.ErrUnexpectedEOF.
func DecryptBackup(r io.Reader, pass cluster.Redacted) (io.Reader, error) {
	header := make([]byte, backupHeader)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, cluster.Invalid("backup", "this is not an encrypted backup").Because("it is too short").Wrap(err)
	}
	if string(header[:len(backupMagic)]) != backupMagic {
		return nil, cluster.Invalid("backup", "this is not an encrypted backup")
	}
	c, err := newChunkCipher(header, pass)
	if err != nil {
		return nil, err
	}
	return &backupReader{r: bufio.NewReaderSize(r, backupChunk+c.aead.Overhead()+1), c: c}, nil
}

// chunkCipher seals and opens the chunks of one backup in order.
type chunkCipher struct {
	aead   cipher.AEAD
	header []byte
	next   uint64
}

func newChunkCipher(header []byte, pass cluster.Redacted) (*chunkCipher, error) {
	salt := header[len(backupMagic) : len(backupMagic)+16]
	key := argon2.IDKey([]byte(pass.Reveal()), salt, argonTime, argonMemory, argonThreads, chacha20poly1305.KeySize)
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("make backup cipher: %w", err)
	}
	return &chunkCipher{aead: aead, header: header}, nil
}

// chunkPlace says where in the stream a chunk stands; it is the nonce's last byte.
type chunkPlace byte

const (
	chunkInner chunkPlace = 0
	chunkLast  chunkPlace = 1
)

// nonce is 16 random bytes, a counter of 7 bytes and the chunk's place.
func (c *chunkCipher) nonce(p chunkPlace) []byte {
	n := make([]byte, chacha20poly1305.NonceSizeX)
	copy(n, c.header[backupHeader-16:])
	binary.BigEndian.PutUint64(n[16:], c.next<<8|uint64(p))
	return n
}

func (c *chunkCipher) seal(plain []byte, p chunkPlace) []byte {
	out := c.aead.Seal(nil, c.nonce(p), plain, c.header)
	c.next++
	return out
}

func (c *chunkCipher) open(box []byte, p chunkPlace) ([]byte, error) {
	plain, err := c.aead.Open(nil, c.nonce(p), box, c.header)
	c.next++
	return plain, err
}

type backupWriter struct {
	w   io.Writer
	c   *chunkCipher
	buf []byte // plaintext of the chunk being filled
	err error  // sticky
}

func (b *backupWriter) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 && b.err == nil {
		if len(b.buf) == backupChunk {
			b.flush(chunkInner)
			continue
		}
		n := min(len(p), backupChunk-len(b.buf))
		b.buf, p = append(b.buf, p[:n]...), p[n:]
		written += n
	}
	return written, b.err
}

func (b *backupWriter) Close() error {
	if b.err == nil {
		b.flush(chunkLast)
	}
	if b.err != nil {
		return b.err
	}
	b.err = errors.New("write to closed backup")
	return nil
}

func (b *backupWriter) flush(p chunkPlace) {
	if _, err := b.w.Write(b.c.seal(b.buf, p)); err != nil {
		b.err = fmt.Errorf("write backup: %w", err)
	}
	b.buf = b.buf[:0]
}

type backupReader struct {
	r     *bufio.Reader
	c     *chunkCipher
	plain []byte // verified, not read yet
	err   error  // what follows plain
}

func (b *backupReader) Read(p []byte) (int, error) {
	for len(b.plain) == 0 {
		if b.err != nil {
			return 0, b.err
		}
		b.fill()
	}
	n := copy(p, b.plain)
	b.plain = b.plain[n:]
	return n, nil
}

// fill verifies the next chunk. A chunk that is short, or that nothing follows,
// must be the last one.
func (b *backupReader) fill() {
	first := b.c.next == 0
	box := make([]byte, backupChunk+b.c.aead.Overhead())
	n, err := io.ReadFull(b.r, box)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		b.err = io.ErrUnexpectedEOF // also for io.EOF: the last chunk is missing
		if !errors.Is(err, io.EOF) {
			b.err = fmt.Errorf("read backup: %w", err)
		}
		return
	}
	place := chunkInner
	if _, peek := b.r.Peek(1); n < len(box) || errors.Is(peek, io.EOF) {
		place = chunkLast
	}
	b.plain, err = b.c.open(box[:n], place)
	switch {
	case err == nil && place == chunkLast:
		b.err = io.EOF
	case err != nil && first:
		b.err = ErrBackupKey
	case err != nil:
		b.err = fmt.Errorf("read backup: damaged or cut off: %w", io.ErrUnexpectedEOF)
	}
}
