// Command coredns is CoreDNS with its stock plugins, the judge of the
// differential tests: whatever it answers is what pods expect.
package main

import (
	_ "github.com/coredns/coredns/core/plugin"
	"github.com/coredns/coredns/coremain"
)

func main() {
	coremain.Run()
}
