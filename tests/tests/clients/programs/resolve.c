/* Asks through the C library. An argument is a name, an IPv4 address whose name is asked, or the
   name of an SRV RRset, which begins with an underscore. Each line has the argument and one
   answer. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void addresses(const char *name)
{
    struct addrinfo hints = { .ai_socktype = SOCK_DGRAM }, *list = NULL;
    int error = getaddrinfo(name, NULL, &hints, &list);
    if (error)
        printf("%s: %s\n", name, gai_strerror(error));
    for (struct addrinfo *at = list; at; at = at->ai_next) {
        char text[NI_MAXHOST];
        if (!getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST))
            printf("%s: %s\n", name, text);
    }
    if (list)
        freeaddrinfo(list);
}

static void name(struct sockaddr_in *address, const char *text)
{
    char found[NI_MAXHOST];
    int error = getnameinfo((struct sockaddr *)address, sizeof *address, found, sizeof found, NULL,
                            0, NI_NAMEREQD);
    printf("%s: %s\n", text, error ? gai_strerror(error) : found);
}

static void services(const char *owner)
{
    unsigned char reply[4096];
    char target[NS_MAXDNAME];
    ns_msg message;
    int len = res_query(owner, ns_c_in, ns_t_srv, reply, sizeof reply);
    if (len < 0 || ns_initparse(reply, len, &message)) {
        printf("%s: no answer\n", owner);
        return;
    }
    for (int i = 0; i < ns_msg_count(message, ns_s_an); i++) {
        ns_rr record;
        if (ns_parserr(&message, ns_s_an, i, &record))
            continue;
        const unsigned char *data = ns_rr_rdata(record);
        if (dn_expand(reply, reply + len, data + 6, target, sizeof target) < 0)
            continue;
        printf("%s: %u %u %u %s\n", owner, ns_get16(data), ns_get16(data + 2), ns_get16(data + 4),
               target);
    }
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct sockaddr_in address = { .sin_family = AF_INET };
        if (argv[i][0] == '_')
            services(argv[i]);
        else if (inet_pton(AF_INET, argv[i], &address.sin_addr) == 1)
            name(&address, argv[i]);
        else
            addresses(argv[i]);
    }
    return 0;
}
