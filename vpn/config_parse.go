package vpn

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// section is where in the file the parser is.
type section int

const (
	beforeAny section = iota
	inInterface
	inPeer
	inUnknown // what stands there is left alone: its heading is the mistake
)

// The names of sections and keys, as messages show them.
const (
	interfaceSection = "[Interface]"
	peerSection      = "[Peer]"

	interfaceKeys = "PrivateKey, ListenPort, FwMark, Address, DNS, MTU, Table, PreUp, PostUp, PreDown, PostDown, SaveConfig"
	peerKeys      = "PublicKey, PresharedKey, AllowedIPs, Endpoint, PersistentKeepalive"
)

// parser reads a file line by line. It collects what is wrong and goes on.
type parser struct {
	config   *Config
	section  section
	line     int
	problems []problem
	warnings []problem
	// secrets are the values that stand under PrivateKey and PresharedKey, be
	// they keys or not, without white space.
	secrets []string

	interfaceLine int            // of [Interface]; 0: not seen
	seen          map[string]int // lines of the keys in this section
	peer          *Peer          // the present one, not in config yet
	autoComment   bool           // it has the comment "natprobe: auto"
	peerPrefixes  map[netip.Prefix]bool
	mtuLine       int

	peerLines   map[PublicKey]int
	prefixLines map[netip.Prefix]int // of all peers that are complete
}

func newParser(file string) *parser {
	config := &Config{File: file}
	if name, err := InterfaceName(file); err == nil {
		config.Name = name
	}
	return &parser{
		config:       config,
		seen:         map[string]int{},
		peerPrefixes: map[netip.Prefix]bool{},
		peerLines:    map[PublicKey]int{},
		prefixLines:  map[netip.Prefix]int{},
	}
}

func (p *parser) fail(key, quoted, text string) {
	p.problems = append(p.problems, problem{p.line, key, quoted, text})
}

func (p *parser) warn(key, quoted, text string) {
	p.warnings = append(p.warnings, problem{p.line, key, quoted, text})
}

func (p *parser) readLine(line string) {
	p.line++
	text, comment, _ := strings.Cut(line, "#")
	text = strings.TrimFunc(text, isSpace)
	key, value, assigned := strings.Cut(text, "=")
	key = squeeze(key)
	switch {
	case text == "":
	case strings.HasPrefix(text, "["):
		p.endSection()
		p.beginSection(text)
	case p.section == inUnknown:
		// It may be a secret all the same.
		p.setUnknown(key, value)
	case !assigned:
		p.fail("", "", "a line must be KEY = VALUE, a section in brackets or a # comment")
	default:
		p.readKey(key, strings.TrimFunc(value, isSpace))
	}
	p.readComment(comment)
}

func (p *parser) beginSection(text string) {
	clear(p.seen)
	switch name := squeeze(text); {
	case strings.EqualFold(name, interfaceSection):
		p.section = inInterface
		if p.interfaceLine > 0 {
			p.fail(interfaceSection, "", fmt.Sprintf("only one such section is allowed; the first is in line %d", p.interfaceLine))
			return
		}
		p.interfaceLine = p.line
	case strings.EqualFold(name, peerSection):
		p.section = inPeer
		p.peer = &Peer{Line: p.line}
		p.autoComment = false
		clear(p.peerPrefixes)
	default:
		p.section = inUnknown
		if !isWord(strings.Trim(name, "[]")) {
			p.fail("", "", "a heading that is no section's; [Interface] and [Peer] are allowed, on lines of their own")
			return
		}
		p.fail("", text, "is no section; [Interface] and [Peer] are allowed, on lines of their own")
	}
}

// endSection completes a peer.
func (p *parser) endSection() {
	peer := p.peer
	if peer == nil {
		return
	}
	p.peer = nil
	peer.Keepalive.Auto = peer.Keepalive.Auto || p.autoComment
	at := p.line
	p.line = peer.Line
	defer func() { p.line = at }()

	_, given := p.seen["PublicKey"]
	other, again := p.peerLines[peer.PublicKey]
	switch {
	case !given:
		p.fail(peerSection, "", "PublicKey is missing; each peer needs its own")
	case peer.PublicKey.IsZero(): // told where it stands
	case again:
		p.fail(peerSection, "", fmt.Sprintf("has the PublicKey of the peer in line %d; one section for each peer is allowed", other))
	default:
		p.peerLines[peer.PublicKey] = peer.Line
	}
	for _, prefix := range peer.AllowedIPs {
		if other, taken := p.prefixLines[prefix]; taken {
			p.warn(peerSection, "", fmt.Sprintf("AllowedIPs %v is also that of the peer in line %d; the later peer gets its packets", prefix, other))
		}
		p.prefixLines[prefix] = peer.Line
	}
	p.config.Peers = append(p.config.Peers, *peer)
}

func (p *parser) readKey(key, value string) {
	ownKeys, otherKeys, other := interfaceKeys, peerKeys, peerSection
	if p.section == inPeer {
		ownKeys, otherKeys, other = peerKeys, interfaceKeys, interfaceSection
	}
	name, known := canonical(ownKeys, key)
	foreign, elsewhere := canonical(otherKeys, key)
	switch {
	case p.section == beforeAny:
		p.setUnknown(key, value)
		p.fail(cmp.Or(name, foreign), "", "stands before the first section; begin with [Interface]")
	case elsewhere:
		p.setUnknown(key, value)
		p.fail(foreign, "", "belongs in a section "+other)
	case !known:
		// With a value behind it a word is a key; anything else may be a secret
		// that was torn off its own.
		if !isWord(key) || value == "" {
			p.fail("", "", "no known key; allowed are "+ownKeys)
			return
		}
		p.fail("", key, "is no known key; allowed are "+ownKeys)
	case p.section == inPeer:
		p.setPeer(name, value)
	default:
		p.setInterface(name, value)
	}
}

// isWord tells whether a text may be the name of a key or section, if a wrong
// one. Longer than PersistentKeepalive none is.
func isWord(text string) bool {
	return text != "" && len(text) < keyLike && !strings.ContainsFunc(text, func(r rune) bool { return !isAlphanumeric(r) })
}

// canonical finds a name in a list, whatever its case.
func canonical(list, name string) (string, bool) {
	for candidate := range strings.SplitSeq(list, ", ") {
		if strings.EqualFold(candidate, name) {
			return candidate, true
		}
	}
	return "", false
}

// setUnknown remembers a secret that stands where it has no meaning.
func (p *parser) setUnknown(key, value string) {
	if strings.EqualFold(key, "PrivateKey") || strings.EqualFold(key, "PresharedKey") {
		p.addSecret(value)
	}
}

func (p *parser) addSecret(value string) {
	if secret := squeeze(value); secret != "" {
		p.secrets = append(p.secrets, secret)
	}
}

// readComment looks for what is meant for natprobe. A line can have several
// comments, as in "# at home # natprobe: auto".
func (p *parser) readComment(text string) {
	for comment := range strings.SplitSeq(text, "#") {
		word, rest, ok := strings.Cut(comment, ":")
		if !ok || !strings.EqualFold(strings.TrimFunc(word, isSpace), "natprobe") {
			continue
		}
		switch {
		case !strings.EqualFold(strings.TrimFunc(rest, isSpace), "auto"):
			p.warn("", "", `a comment for natprobe that it doesn't know; "# natprobe: auto" is allowed`)
		case p.section != inPeer:
			p.warn("", "", `the comment "# natprobe: auto" belongs in a section [Peer], below its heading; here it means nothing`)
		default:
			p.autoComment = true
		}
	}
}

// finish checks what only the whole file tells.
func (p *parser) finish() (*Config, error) {
	p.endSection()
	c := p.config
	p.line = 0
	if p.interfaceLine == 0 {
		p.fail("", "", "has no section [Interface]; one is needed")
	}
	p.line = p.interfaceLine
	own := c.Interface.PrivateKey.PublicKey()
	switch line, isPeer := p.peerLines[own]; {
	case own.IsZero() && len(c.Interface.PreUp)+len(c.Interface.PostUp) == 0:
		p.warn(interfaceSection, "", "PrivateKey is missing; no peer can be reached before one is set")
	case isPeer:
		p.line = line
		p.warn(peerSection, "", "PublicKey belongs to the PrivateKey of this file; WireGuard ignores a peer that is itself")
	}
	if c.Interface.MTU > 0 && c.Interface.MTU < minMTUv6 && c.hasIPv6() {
		p.line = p.mtuLine
		p.warn("MTU", "", fmt.Sprintf("below %d there is no IPv6 (RFC 8200 section 5), and this file has IPv6 addresses", minMTUv6))
	}

	byLine := func(a, b problem) int { return a.line - b.line }
	slices.SortStableFunc(p.problems, byLine)
	slices.SortStableFunc(p.warnings, byLine)
	var mistakes []error
	for _, pr := range p.problems[:min(len(p.problems), maxProblems)] {
		mistakes = append(mistakes, &FileError{pr.place(c.File), pr.words(p.secrets)})
	}
	if more := len(p.problems) - maxProblems; more > 0 {
		mistakes = append(mistakes, &FileError{Place{File: c.File}, fmt.Sprintf("and %d mistakes more", more)})
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	for _, pr := range p.warnings {
		c.Warnings = append(c.Warnings, Warning{pr.place(c.File), pr.words(p.secrets)})
	}
	return c, nil
}

func (c *Config) hasIPv6() bool {
	is6 := func(prefix netip.Prefix) bool { return prefix.Addr().Is6() }
	return slices.ContainsFunc(c.Interface.Addresses, is6) ||
		slices.ContainsFunc(c.Peers, func(peer Peer) bool { return slices.ContainsFunc(peer.AllowedIPs, is6) })
}
