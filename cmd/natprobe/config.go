package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// configVariable names the configuration file where --config does not.
const configVariable = "NATPROBE_CONFIG"

// maxConfig is more bytes than any configuration file has. What is larger is
// something else.
const maxConfig = 1 << 20

// withoutConfig is the annotation of verbs that work whatever is in the
// configuration file.
const withoutConfig = "natprobe_without_config"

// configuration is what the configuration file gave to the flags of the verbs.
type configuration struct {
	path    string               // empty: there is no file
	tried   []string             // where one was looked for
	sources map[*pflag.Flag]from // of flags that have their value from elsewhere than the built-in default
}

// from is where the value of a flag comes from.
type from struct {
	line     int    // of the file; 0: not from there
	variable string // of the environment
	value    string // of the variable
}

// configure gives the flags of all verbs the defaults of the configuration file,
// unless the command line or the environment says otherwise.
func (a *app) configure(cmd *cobra.Command) error {
	for c := cmd; c != nil; c = c.Parent() {
		if c.Annotations[withoutConfig] != "" || c.Name() == "help" || c.Name() == "completion" ||
			c.Name() == cobra.ShellCompRequestCmd || c.Name() == cobra.ShellCompNoDescRequestCmd {
			return nil
		}
	}
	path, text, tried, err := a.findConfig()
	if err != nil {
		return inputError{err}
	}
	var settings []setting
	if path != "" {
		// A tree of verbs of its own: all of the file is checked, also what the
		// command line makes irrelevant today.
		if settings, err = parseConfig(path, text, (&app{}).root()); err != nil {
			return inputError{err}
		}
	}
	a.config = configuration{path: path, tried: tried, sources: applySettings(cmd.Root(), settings, a.env)}
	return nil
}

// findConfig reads the configuration file: the one that is named, or else the
// first there is of the user's and the system's.
func (a *app) findConfig() (path string, text []byte, tried []string, err error) {
	named, what := a.configPath, "--config"
	if named == "" {
		named, _ = a.env(configVariable)
		what = configVariable
	}
	if named != "" {
		text, err = readConfig(named)
		if err != nil {
			return "", nil, nil, fmt.Errorf("%s: %w", what, err)
		}
		return named, text, nil, nil
	}
	tried = defaultConfigs()
	for _, path := range tried {
		text, err = readConfig(path)
		switch {
		case err == nil:
			return path, text, tried, nil
		case !absent(path, err):
			return "", nil, nil, fmt.Errorf("%w; %s=%s reads none", err, configVariable, os.DevNull)
		}
	}
	return "", nil, tried, nil
}

// defaultConfigs lists where a configuration file is looked for.
func defaultConfigs() []string {
	var paths []string
	if dir, err := os.UserConfigDir(); err == nil { // a service may have no home
		paths = append(paths, filepath.Join(dir, "natprobe", "config.yaml"))
	}
	if runtime.GOOS != "windows" { // where everyone may make such a folder
		paths = append(paths, "/etc/natprobe/config.yaml")
	}
	return paths
}

// absent reports whether an error says that there is no such file, as far as
// this process can see: the home of a service may be shut, or no folder at all.
func absent(path string, err error) bool {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return true
	}
	_, hidden := os.Stat(path)
	return errors.Is(err, fs.ErrPermission) && errors.Is(hidden, fs.ErrPermission)
}

func readConfig(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		return nil, fmt.Errorf("%s: larger than %d bytes: that is no configuration file", path, maxConfig)
	}
	return text, err
}

// explain adds to an error about flags which of them are the file's: someone
// who didn't type them looks for them there.
func (a *app) explain(cmd *cobra.Command, err error) error {
	var hints []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		source := a.config.sources[flag]
		named := regexp.MustCompile(`(^|[^\w-])(--)?` + regexp.QuoteMeta(flag.Name) + `($|[^\w-])`)
		if source.line > 0 && named.MatchString(err.Error()) {
			hints = append(hints, fmt.Sprintf("%s is from %s:%d", flag.Name, a.config.path, source.line))
		}
	})
	if len(hints) == 0 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(hints, ", "))
}
