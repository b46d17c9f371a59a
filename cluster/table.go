package cluster

import (
	"iter"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// table is an immutable, sorted map from string keys to shared values. The zero
// table is empty.
type table[K ~string, V any] struct{ tree *iradix.Tree[*V] }

func (t table[K, V]) get(k K) (*V, bool) {
	if t.tree == nil {
		return nil, false
	}
	return t.tree.Get([]byte(k))
}

func (t table[K, V]) len() int {
	if t.tree == nil {
		return 0
	}
	return t.tree.Len()
}

// all yields values in key order.
func (t table[K, V]) all() iter.Seq[*V] { return t.prefix("") }

// prefix yields the values whose keys start with p, in key order.
func (t table[K, V]) prefix(p string) iter.Seq[*V] {
	return func(yield func(*V) bool) {
		if t.tree == nil {
			return
		}
		it := t.tree.Root().Iterator()
		it.SeekPrefix([]byte(p))
		for _, v, ok := it.Next(); ok; _, v, ok = it.Next() {
			if !yield(v) {
				return
			}
		}
	}
}

func (t table[K, V]) set(k K, v *V) table[K, V] {
	tree := t.tree
	if tree == nil {
		tree = iradix.New[*V]()
	}
	tree, _, _ = tree.Insert([]byte(k), v)
	return table[K, V]{tree}
}

func (t table[K, V]) del(k K) table[K, V] {
	if t.tree == nil {
		return t
	}
	tree, _, _ := t.tree.Delete([]byte(k))
	return table[K, V]{tree}
}
