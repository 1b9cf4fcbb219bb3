"""Asks through dnspython. Arguments are names, addresses whose name is asked, and names of SRV
RRsets, which begin with an underscore. Each line has the argument and one answer."""
import ipaddress
import sys

import dns.exception
import dns.resolver
import dns.reversename

resolver = dns.resolver.Resolver()
if sys.argv[1] == "edns":
    resolver.use_edns(0, 0, 1232)


def questions(asked):
    if asked.startswith("_"):
        return [(asked, "SRV")]
    try:
        ipaddress.ip_address(asked)
        return [(dns.reversename.from_address(asked), "PTR")]
    except ValueError:
        return [(asked, "A"), (asked, "AAAA")]


for asked in sys.argv[2:]:
    for name, qtype in questions(asked):
        try:
            for record in resolver.resolve(name, qtype, search=True):
                print(f"{asked} {qtype}: {record.to_text()}")
        except dns.exception.DNSException as error:
            print(f"{asked} {qtype}: {type(error).__name__}")
