// Asks through Node. The first argument is "lookup", by the C library, or "resolve", by c-ares.
// The others are names, addresses whose name is asked, and names of SRV RRsets, which begin with
// an underscore. Each line has the argument and one answer.
'use strict';
const dns = require('node:dns').promises;
const net = require('node:net');

async function answers(by, asked) {
    if (asked.startsWith('_')) {
        const records = await dns.resolveSrv(asked);
        return records.map((r) => `${r.priority} ${r.weight} ${r.port} ${r.name}`);
    }
    if (net.isIP(asked)) {
        return dns.reverse(asked);
    }
    if (by === 'lookup') {
        return (await dns.lookup(asked, { all: true })).map((found) => found.address);
    }
    // An error of one family is shown beside the addresses of the other.
    const families = [dns.resolve4(asked), dns.resolve6(asked)];
    const found = await Promise.allSettled(families);
    return found.flatMap((one) => one.value ?? [one.reason.code]);
}

async function main() {
    const [by, ...names] = process.argv.slice(2);
    for (const asked of names) {
        const found = await answers(by, asked).catch((error) => [error.code]);
        for (const answer of found) {
            console.log(`${asked}: ${answer}`);
        }
    }
}

main();
