// Command paas is a Heroku of one's own in one binary.
package main

import (
	"os"

	"paas/cli"
)

func main() {
	os.Exit(cli.Main(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
