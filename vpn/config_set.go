package vpn

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// again tells whether a key that has one value stood in this section before.
func (p *parser) again(key string) (line int, again bool) {
	line, again = p.seen[key]
	p.seen[key] = p.line
	return line, again
}

// once warns of a key that has one value and occurs twice.
func (p *parser) once(key string) {
	if line, again := p.again(key); again {
		p.warn(key, "", fmt.Sprintf("stands in line %d already; the last one counts, as with wg(8)", line))
	}
}

// mistake reports what is wrong with a value, if something is.
func (p *parser) mistake(key, value string, err error) bool {
	switch {
	case err == nil:
		return false
	case value == "":
		p.fail(key, "", "the value is empty and "+err.Error())
	default:
		p.fail(key, value, err.Error())
	}
	return true
}

// setInterface reads a key of [Interface]. Keys of wg(8) must have a value; for
// wg-quick an empty one sets nothing.
func (p *parser) setInterface(key, value string) {
	to := &p.config.Interface
	plain := squeeze(value)
	var err error
	switch key {
	case "PrivateKey":
		p.once(key)
		to.PrivateKey = p.secretKey(key, plain)
		return
	case "ListenPort":
		p.once(key)
		to.ListenPort, err = parsePort(plain)
		value = plain
	case "FwMark":
		p.once(key)
		to.FwMark, err = parseFwMark(plain)
		value = plain
	case "Address":
		p.setAddresses(key, value)
	case "DNS":
		p.setDNS(key, value)
	case "MTU":
		p.once(key)
		to.MTU, err = parseMTU(value)
		p.mtuLine = p.line
	case "Table":
		p.once(key)
		to.Table, err = parseTable(value)
	case "PreUp":
		to.PreUp = appendCommand(to.PreUp, value)
	case "PostUp":
		to.PostUp = appendCommand(to.PostUp, value)
	case "PreDown":
		to.PreDown = appendCommand(to.PreDown, value)
	case "PostDown":
		to.PostDown = appendCommand(to.PostDown, value)
	case "SaveConfig":
		p.once(key)
		err = checkSaveConfig(value)
	}
	p.mistake(key, value, err)
}

// setPeer reads a key of [Peer], all of which are wg(8)'s.
func (p *parser) setPeer(key, value string) {
	plain := squeeze(value)
	var err error
	switch key {
	case "PublicKey":
		if line, again := p.again(key); again {
			p.fail(key, "", fmt.Sprintf("stands in line %d already; a section has one, so that a line [Peer] may be missing before this one", line))
			return
		}
		// Never quoted: what stands here by mistake may well be a private key.
		p.peer.PublicKey, err = ParsePublicKey(plain)
		p.mistakeUnquoted(key, plain, err)
		return
	case "PresharedKey":
		p.once(key)
		p.peer.PresharedKey = p.secretKey(key, plain)
		return
	case "AllowedIPs":
		p.setAllowedIPs(key, value)
	case "Endpoint":
		p.once(key)
		value = plain
		p.peer.Endpoint, err = ParseEndpoint(plain)
		if err == nil && strings.Count(plain, ":") > 1 && plain[0] != '[' {
			p.warn(key, plain, "is read as "+p.peer.Endpoint.String()+"; write it so, in brackets")
		}
	case "PersistentKeepalive":
		p.once(key)
		p.peer.Keepalive, err = parseKeepalive(plain)
		value = plain
	}
	p.mistake(key, value, err)
}

func (p *parser) secretKey(key, value string) SecretKey {
	p.addSecret(value)
	secret, err := ParseSecretKey(value)
	p.mistakeUnquoted(key, value, err)
	return secret
}

// mistakeUnquoted is mistake for what is never shown.
func (p *parser) mistakeUnquoted(key, value string, err error) {
	if err != nil && value != "" {
		p.fail(key, "", "the value (not shown) "+err.Error())
		return
	}
	p.mistake(key, "", err)
}

func appendCommand(commands []string, command string) []string {
	if command == "" {
		return commands
	}
	return append(commands, command)
}

// words splits a list as wg-quick does: commas are white space.
func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || isSpace(r) })
}

func (p *parser) setAddresses(key, list string) {
	to := &p.config.Interface
	for _, word := range words(list) {
		prefix, err := parsePrefix(word)
		switch {
		case p.mistake(key, word, err):
		case slices.Contains(to.Addresses, prefix):
			p.warn(key, word, "stands there twice")
		default:
			to.Addresses = append(to.Addresses, prefix)
		}
	}
}

func (p *parser) setDNS(key, list string) {
	to := &p.config.Interface
	for _, word := range words(list) {
		// wg-quick's test: digits and dots, or a colon.
		if strings.Trim(word, "0123456789.") != "" && !strings.Contains(word, ":") {
			if !p.mistake(key, word, checkSearchDomain(word)) {
				to.SearchDomains = appendNew(to.SearchDomains, word)
			}
			continue
		}
		addr, err := netip.ParseAddr(word)
		if err != nil {
			err = errors.New("is not an address; IPv4 and IPv6 addresses and search domains are allowed")
		}
		if !p.mistake(key, word, err) {
			to.DNS = appendNew(to.DNS, addr)
		}
	}
}

func appendNew[T comparable](list []T, item T) []T {
	if slices.Contains(list, item) {
		return list
	}
	return append(list, item)
}

func (p *parser) setAllowedIPs(key, list string) {
	if list == "" {
		p.fail(key, "", "the value is empty; prefixes as in 10.0.0.0/24, fd00::/64 are allowed, or no such line at all")
		return
	}
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimFunc(item, isSpace)
		word := squeeze(item)
		switch {
		case word == "":
			p.fail(key, "", "has an empty place in its list; prefixes with single commas between them are allowed")
			continue
		case word[0] == '+' || word[0] == '-':
			p.fail(key, item, "would change a running interface; a prefix without + or - is allowed")
			continue
		}
		prefix, err := parsePrefix(word)
		if p.mistake(key, item, err) {
			continue
		}
		if masked := prefix.Masked(); masked != prefix {
			p.warn(key, item, "has bits set behind the prefix; it means "+masked.String())
			prefix = masked
		}
		if !p.peerPrefixes[prefix] {
			p.peerPrefixes[prefix] = true
			p.peer.AllowedIPs = append(p.peer.AllowedIPs, prefix)
		}
	}
}
