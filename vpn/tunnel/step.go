package tunnel

// Kinds of steps.
const (
	stepSocket     = "socket"      // wg's socket: Path
	stepResolvConf = "resolv.conf" // rewritten: Path, Old, Existed, Wrote
	stepResolvconf = "resolvconf"  // the program: Record
	stepResolvectl = "resolvectl"  // the program: nothing
	stepSysctl     = "sysctl"      // Path, Old, Wrote
	stepRule       = "rule"        // Rule
	stepFirewall   = "firewall"    // Table
)

// step is one change that outlives the process, and what undoing it takes.
type step struct {
	Kind    string `json:"kind"`
	Path    string `json:"path,omitempty"`
	Old     string `json:"old,omitempty"`
	Wrote   string `json:"wrote,omitempty"`
	Existed bool   `json:"existed,omitempty"`
	Record  string `json:"record,omitempty"`
	Table   string `json:"table,omitempty"`
	Rule    *rule  `json:"rule,omitempty"`
}
