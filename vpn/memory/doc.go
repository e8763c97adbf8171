// Package memory keeps what was learned about networks, over restarts, in one
// file of a folder: which lifetimes a network has, and which keepalive follows.
//
// Networks are named by keyed hashes whose key, the salt, is in the file too.
// Nothing of it leaves this machine.
//
// Where the folder can't be written, the store remembers for as long as its
// process lives, and says so. Several processes may share a folder.
package memory
