// Package vpn is natprobe's side of WireGuard. The package itself reads
// configuration files: [ParseFile] and [Parse] read what wg(8) and wg-quick(8)
// read, and [Config.AppendUAPI] writes it in the words that a WireGuard device
// takes. Nothing in it opens a socket or changes the system; that is the business
// of the packages below: tunnel, sharedport, tuner, network, memory and wgapply.
// README.md tells what they do together.
//
// # The file
//
// Section and key names may be written in any case, and white space in them
// counts for nothing, as with wg. A # begins a comment
// anywhere in a line, also inside a PostUp command, because wg-quick cuts it
// off there too. All keys of both manuals are known:
//
//	[Interface]  PrivateKey ListenPort FwMark
//	             Address DNS MTU Table PreUp PostUp PreDown PostDown SaveConfig
//	[Peer]       PublicKey PresharedKey AllowedIPs Endpoint PersistentKeepalive
//
// Some things that wg and wg-quick let pass are mistakes here, since they
// can't be meant: a second [Interface] section, none at all, a second PublicKey
// in a [Peer] section (the line [Peer] above it is missing), two sections for
// one peer. And some are not supported: SaveConfig = true, because natprobe
// never rewrites the file it was given; names of services in place of port
// numbers; names of routing tables other than main, default and local;
// AllowedIPs with + or -, which change a running interface.
//
// # PersistentKeepalive = auto
//
// A peer whose interval natprobe is to choose says so in one of two ways:
//
//	PersistentKeepalive = auto          # wg-quick refuses such a file
//	PersistentKeepalive = 25            # natprobe: auto
//
// The comment may stand anywhere in the peer's section, on a line of its own
// too. The file stays valid for wg-quick, which uses the number; for natprobe
// the number is only where to start from. A number without the comment is the
// user's decision, and [Keepalive] says that it was made.
//
// # Secrets
//
// Private and preshared keys are of type [SecretKey], which no way of printing,
// logging or marshalling shows. No error and no warning contains one, and none
// shows any text of the file that could be one.
package vpn
