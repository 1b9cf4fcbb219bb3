// Asks through Go's own resolver, or through github.com/miekg/dns. The first argument says by
// which: "net" or "dns". The others are names, addresses whose name is asked, and names of SRV
// RRsets, which begin with an underscore. Each line has the argument and one answer.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/miekg/dns"
)

func show[T any](asked string, answers []T, err error) {
	if err != nil {
		fmt.Printf("%s: %v\n", asked, err)
	}
	for _, answer := range answers {
		fmt.Printf("%s: %v\n", asked, answer)
	}
}

func byNet(asked string) {
	resolver, ctx := &net.Resolver{PreferGo: true}, context.Background()
	switch {
	case asked[0] == '_':
		_, records, err := resolver.LookupSRV(ctx, "", "", asked)
		for _, record := range records {
			fmt.Printf("%s: %v\n", asked, *record)
		}
		show[string](asked, nil, err)
	case net.ParseIP(asked) != nil:
		names, err := resolver.LookupAddr(ctx, asked)
		show(asked, names, err)
	default:
		addresses, err := resolver.LookupHost(ctx, asked)
		show(asked, addresses, err)
	}
}

// Asks for each name of the search path until there is an answer, with EDNS 4096 and DO.
func byDNS(config *dns.ClientConfig, asked string) {
	types, names := []uint16{dns.TypeA, dns.TypeAAAA}, config.NameList(asked)
	if asked[0] == '_' {
		types = []uint16{dns.TypeSRV}
	} else if net.ParseIP(asked) != nil {
		reverse, _ := dns.ReverseAddr(asked)
		types, names = []uint16{dns.TypePTR}, []string{reverse}
	}
	for _, name := range names {
		found := false
		for _, qtype := range types {
			query := new(dns.Msg).SetQuestion(name, qtype)
			query.SetEdns0(4096, true)
			reply, err := dns.Exchange(query, net.JoinHostPort(config.Servers[0], config.Port))
			if err != nil {
				fmt.Printf("%s: %v\n", name, err)
				continue
			}
			found = found || len(reply.Answer) > 0
			fmt.Printf("%s: %s\n", name, dns.RcodeToString[reply.Rcode])
			for _, record := range append(reply.Answer, reply.Ns...) {
				fmt.Println(strings.ReplaceAll(record.String(), "\t", " "))
			}
		}
		if found {
			return
		}
	}
}

func main() {
	config, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		panic(err)
	}
	for _, asked := range os.Args[2:] {
		if os.Args[1] == "net" {
			byNet(asked)
		} else {
			byDNS(config, asked)
		}
	}
}
