package cli

import (
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"paas/builder"
	"paas/cluster"
)

// withBuildFlags is an invocation of a command that runs a builder.
func withBuildFlags(t *testing.T, args ...string) *invocation {
	t.Helper()
	set := flag.NewFlagSet("server", flag.ContinueOnError)
	for _, f := range buildFlags() {
		if err := f.Apply(set); err != nil {
			t.Fatal(err)
		}
	}
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &invocation{Context: cli.NewContext(&cli.App{}, set, nil)}
}

func TestBuildLimitsAreReadAndBounded(t *testing.T) {
	for _, c := range []struct {
		args []string
		want builder.Limits
		code string // of the refusal
	}{
		{nil, builder.Limits{}, ""}, // the builder's own
		{[]string{"--build-memory=2G"}, builder.Limits{MemoryBytes: 2 << 30}, ""},
		{[]string{"--build-memory=64M", "--build-time=1s"}, builder.Limits{MemoryBytes: 64 << 20, Time: time.Second}, ""},
		{[]string{"--build-time=24h"}, builder.Limits{Time: 24 * time.Hour}, ""},
		{[]string{"--build-memory=63M"}, builder.Limits{}, "build-memory"},
		{[]string{"--build-memory=-2G"}, builder.Limits{}, "build-memory"},
		{[]string{"--build-memory=much"}, builder.Limits{}, "build-memory"},
		{[]string{"--build-memory=99999999999999999999G"}, builder.Limits{}, "build-memory"},
		{[]string{"--build-time=0s"}, builder.Limits{}, "build-time"}, // named, and no time at all
		{[]string{"--build-time=-1m"}, builder.Limits{}, "build-time"},
		{[]string{"--build-time=24h1ns"}, builder.Limits{}, "build-time"},
	} {
		got, err := withBuildFlags(t, c.args...).buildLimits()
		refused(t, c.args, err, c.code)
		if err == nil && got != c.want {
			t.Errorf("%q: got %+v, want %+v", c.args, got, c.want)
		}
	}
}

func TestOfferedPortsAreReadAndBounded(t *testing.T) {
	for _, c := range []struct {
		text string
		want []uint16
		code string
	}{
		{"", nil, ""},
		{"3128", []uint16{3128}, ""},
		{"1, 65535 ,5432", []uint16{1, 65535, 5432}, ""},
		{"0", nil, "offer"},
		{"65536", nil, "offer"},
		{"-1", nil, "offer"},
		{"3128,", nil, "offer"},
		{"3128-3130", nil, "offer"},
		{"http", nil, "offer"},
		{"\x1b[31m22", nil, "offer"},
	} {
		got, err := withBuildFlags(t, "--offer="+c.text).offers()
		refused(t, []string{c.text}, err, c.code)
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: got %v, want %v", c.text, got, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: the refusal %q holds what a terminal obeys", c.text, err)
		}
	}
}

func refused(t *testing.T, args []string, err error, code string) {
	t.Helper()
	if (err != nil) != (code != "") {
		t.Errorf("%q: got %v", args, err)
	}
	if e := asError(err); err != nil && (e.Kind != cluster.KindInvalid || e.Code != code) {
		t.Errorf("%q: got %#v, want %s", args, e, code)
	}
}
