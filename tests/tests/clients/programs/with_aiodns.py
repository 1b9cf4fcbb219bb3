"""Asks through aiodns, which is c-ares. Arguments are names, addresses whose name is asked, and
names of SRV RRsets, which begin with an underscore. Each line has the argument and one answer."""
import asyncio
import ipaddress
import socket
import sys

import aiodns


async def answers(resolver, asked):
    if asked.startswith("_"):
        found = await resolver.query_dns(asked, "SRV")
        return [str(record.data) for record in found.answer]
    try:
        ipaddress.ip_address(asked)
    except ValueError:
        found = await resolver.getaddrinfo(asked, family=socket.AF_UNSPEC, port=80)
        return sorted({node.addr[0].decode() for node in found.nodes})
    host = await resolver.getnameinfo((asked, 80))
    return [host.node]


async def main():
    resolver = aiodns.DNSResolver()
    for asked in sys.argv[1:]:
        try:
            found = await answers(resolver, asked)
        except aiodns.error.DNSError as error:
            found = [error.args[1]]
        for answer in found:
            print(f"{asked}: {answer}")


asyncio.run(main())
